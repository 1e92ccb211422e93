package apim_test

import (
	"fmt"
	"os"

	"github.com/entragate/entragate/appaccess/apim"
)

// A plan from files shows what a move would do. Findings that open access need
// an answer, one by one.
func ExampleNewPlan() {
	instance, err := apim.ReadFS(os.DirFS("testdata/apiops-artifacts"))
	if err != nil {
		panic(err)
	}
	plan, err := apim.NewPlan(instance, apim.Options{
		TenantID:    "7e5f0c2a-1111-4b00-9c00-00000000b001",
		Acknowledge: []string{"ip-filter:policy of all APIs"}, // the firewall does it
		LeaveOut:    []string{"products/machines"},
	})
	if err != nil {
		panic(err)
	}
	for _, f := range plan.Unacknowledged()[:2] {
		fmt.Println(f.ID)
		fmt.Println("  today:", f.Today)
		fmt.Println("  then: ", f.Then)
	}
	// Output:
	// merged-products:apis/billing-2024
	//   today: this version belongs to products machines-and-keys, unlimited, apis/billing to products unlimited
	//   then:  the versions are one API that belongs to all these products: their callers reach every version
	// validate-jwt:apis/inventory
	//   today: tokens are checked; header-name Authorization, audiences https://inventory.brightwater.example
	//   then:  a gate checks audience and role of the API's products only
}
