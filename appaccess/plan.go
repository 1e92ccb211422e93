package appaccess

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Empty reports whether Apply has nothing to do, as far as could be read. It ignores
// Unknown, which Apply does not change.
func (p Plan) Empty() bool { return len(p.Steps) == 0 && len(p.Failed) == 0 }

// String returns the plan as text: the objects in the order in which Apply takes
// them, the steps of each, the unknown objects, and a count.
func (p Plan) String() string {
	if p.Empty() {
		return "Nothing to do: Entra is in sync.\n" + p.Unknown.String()
	}
	var b strings.Builder
	object, count := "", map[Action]int{}
	for _, s := range p.Steps {
		if s.Object != object {
			object = s.Object
			fmt.Fprintf(&b, "%s\n", object)
		}
		count[s.Action]++
		fmt.Fprintf(&b, "  %-8s%s\n", s.Action, s.Detail)
	}
	for _, o := range slices.Sorted(maps.Keys(p.Failed)) {
		fmt.Fprintf(&b, "%s\n  cannot be planned: %v\n", o, p.Failed[o])
	}
	b.WriteString(p.Unknown.String())
	b.WriteString("Steps: " + tally(count) + ".\n")
	return b.String()
}

// tally counts the steps by action, in the order in which actions are listed.
func tally(count map[Action]int) string {
	var parts []string
	for _, a := range []Action{ActionCreate, ActionRestore, ActionAdopt, ActionChange, ActionGrant, ActionRevoke, ActionRemove, ActionRenew} {
		if count[a] > 0 {
			parts = append(parts, fmt.Sprintf("%d to %s", count[a], a))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
