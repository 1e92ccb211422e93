package portal

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// planned is the plan of a form that adopts an object in Entra. The page shows the plan
// and asks the user to send the form again.
type planned struct {
	Token    string // identifies the planned form; the page sends it back
	Steps    []appaccess.Step
	Problems []string
}

// adoptChanges reads from a form what the adoption may change.
func adoptChanges(f form) appaccess.AdoptChanges {
	return appaccess.AdoptChanges{Rename: f.Has("rename", "yes"), TokenVersion2: f.Has("tokenVersion2", "yes")}
}

// plannedFields are the fields of a form that influence the adoption's plan.
var plannedFields = []string{"adopt", "servicePrincipal", "rename", "tokenVersion2", "access", "grants", "permissions"}

// adoptionToken returns the values of plannedFields as one text. It is empty if the form
// adopts nothing.
func adoptionToken(f form) string {
	if strings.TrimSpace(f.Get("adopt")+f.Get("servicePrincipal")) == "" {
		return ""
	}
	var parts []string
	for _, name := range plannedFields {
		parts = append(parts, strings.Join(slices.Sorted(slices.Values(f.Values[name])), ","))
	}
	return strings.Join(parts, "|")
}

// planFirst returns the plan of a form that adopts an object. It returns nil if the form
// adopts nothing, or if the user has seen the plan of the same form already.
func planFirst(f form, plan func() (appaccess.Plan, error)) (*planned, error) {
	token := adoptionToken(f)
	if token == "" || f.Get("planned") == token {
		return nil, nil
	}
	found, err := plan()
	if err != nil {
		return nil, err
	}
	out := &planned{Token: token, Steps: found.Steps}
	for _, object := range slices.Sorted(maps.Keys(found.Failed)) {
		out.Problems = append(out.Problems, "It cannot be planned completely: "+found.Failed[object].Error())
	}
	return out, nil
}

// takeOverHint returns the IDs of other installations whose objects in Entra prevented
// changes. If the store of such an installation was lost, a take-over helps.
func takeOverHint(failed map[string]error) string {
	found := map[string]bool{}
	for _, err := range failed {
		var other interface {
			error
			OtherInstallation() string
		}
		if errors.As(err, &other) {
			found[other.OtherInstallation()] = true
		}
	}
	delete(found, "")
	return strings.Join(slices.Sorted(maps.Keys(found)), ", ")
}
