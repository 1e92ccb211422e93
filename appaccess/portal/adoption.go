package portal

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// planned is what a form that takes over something in Entra would change there. A
// form shows it before it is carried out.
type planned struct {
	Token    string // names what was planned: the form sends it back
	Steps    []appaccess.Step
	Problems []string
}

// adoptChanges reads what a form allows an adoption to change.
func adoptChanges(f form) appaccess.AdoptChanges {
	return appaccess.AdoptChanges{Rename: f.Has("rename", "yes"), TokenVersion2: f.Has("tokenVersion2", "yes")}
}

// plannedFields are the fields of a form that decide what adoption does.
var plannedFields = []string{"adopt", "servicePrincipal", "rename", "tokenVersion2", "access", "grants", "permissions"}

// adoptionToken names what a form takes over; empty: it takes over nothing.
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

// planFirst plans what a form takes over, unless its author saw that plan already.
// It returns nil if the form can be carried out.
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

// takeOverHint names the installation of which a store seems to have been lost:
// objects in Entra that this one cannot prove to have made.
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
