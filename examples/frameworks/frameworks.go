// Package frameworks shows a gate in front of routes of chi, gin and echo, by
// each one's standard adapter. In every example /echo is one product's, by
// middleware on a group of routes; [middleware.Gate.Wrap] around the whole
// router does the same for all APIs by their paths.
package frameworks

import (
	"fmt"
	"io"
	"net/http"

	"github.com/entragate/entragate/middleware"
)

// hello is what each example's route does: it greets the caller.
func hello(w io.Writer, r *http.Request, id string) {
	name := "nobody"
	if caller, ok := middleware.PrincipalFrom(r.Context()); ok {
		name = caller.ClientID + caller.SubscriptionID
	}
	fmt.Fprintf(w, "hello %s, this is %s", name, id)
}
