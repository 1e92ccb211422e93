package appaccess

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// importInto returns an API with the operations of a description.
func (s *Service) importInto(l *look, a API, desc *APIDescription, force bool) (OperationsReport, error) {
	report := OperationsReport{Version: desc.Version, Title: plainText(desc.Title, maxName), Notes: desc.Notes, Permissions: desc.Permissions}
	for _, server := range desc.Servers {
		if strings.HasPrefix(server, "https://") && checkServiceURL(server) == nil {
			report.ServiceURL = server
			break
		}
	}
	roles, err := s.rolesOf(l, a.ID)
	if err != nil {
		return report, err
	}
	described, err := roles.operations(desc.Operations)
	if err != nil {
		return report, err
	}
	merge := merger{before: a.Operations, report: &report}
	a.Operations = merge.into(described)
	if len(a.Operations) > maxOperations {
		return report, &InvalidError{"document", fmt.Sprintf("the API would have more than %d operations", maxOperations)}
	}
	if err := CheckOperations(a.Operations); err != nil {
		report.NotEnforceable = err.Error()
	}
	report.API = a
	if a.Enforcement == EnforceOperations && !force {
		if wider := report.widened(); len(wider) > 0 {
			return report, &ConflictError{Field: "document", Reason: "operations are enforced, and these would let callers pass who are refused now: force it if that is meant", Objects: wider}
		}
	}
	return report, a.enforceable()
}

func (r *OperationsReport) widened() []string {
	var out []string
	for _, c := range r.Changed {
		if c.Widened {
			out = append(out, c.Operation.ID)
		}
	}
	return out
}

// productRoles are the role values of the API's products, without their last part.
type productRoles struct {
	own      map[string]bool // the products' own roles
	prefixes []string        // Product.Orders.
}

func (s *Service) rolesOf(l *look, apiID string) (productRoles, error) {
	roles := productRoles{own: map[string]bool{}}
	for p, err := range each[Product](l, Query{Where: where(byAPI, apiID)}) {
		if err != nil {
			return roles, err
		}
		role := cmp.Or(p.Entra.Role(AllPermission), s.naming.Role(p.Name, AllPermission))
		roles.own[role] = true
		if prefix, ok := strings.CutSuffix(role, AllPermission); ok && prefix != "" {
			roles.prefixes = append(roles.prefixes, prefix)
		}
	}
	return roles, nil
}

// permission returns the name of the permission that a scope of a document means.
func (r productRoles) permission(scope string) string {
	if r.own[scope] || strings.HasSuffix(scope, "/.default") || strings.EqualFold(scope, AllPermission) {
		return AllPermission
	}
	for _, prefix := range r.prefixes {
		if name, ok := strings.CutPrefix(scope, prefix); ok {
			return name
		}
	}
	return scope
}

// operations converts a description's operations to operations of the API.
func (r productRoles) operations(described []Operation) ([]Operation, error) {
	used := map[string]bool{}
	var out []Operation
	for _, d := range described {
		o := Operation{
			ID: operationID(d.ID, d.Method, d.Path, used), Method: d.Method, Path: d.Path,
			Summary: plainText(d.Summary, maxName), Unenforceable: d.Unenforceable,
		}
		for _, tag := range d.Tags[:min(len(d.Tags), 20)] {
			if tag = plainText(tag, maxTag); tag != "" {
				o.Tags = append(o.Tags, tag)
			}
		}
		var anyOf [][]string
		for _, scopes := range d.AnyOf {
			var names []string
			for _, scope := range scopes {
				names = append(names, r.permission(scope))
			}
			// An alternative with All needs only the product's own role, which passes
			// in any case.
			if !slices.Contains(names, AllPermission) {
				anyOf = append(anyOf, names)
			}
		}
		var err error
		if o.AnyOf, err = checkAnyOf("document", anyOf); err != nil {
			return nil, fmt.Errorf("%s: %w", d.String(), err)
		}
		out = append(out, o)
	}
	return out, nil
}

// merger combines a document's operations with the API's present operations.
type merger struct {
	before []Operation
	report *OperationsReport
	found  map[int]bool // places in before
}

func (m *merger) into(described []Operation) []Operation {
	m.found = map[int]bool{}
	out := make([]Operation, 0, len(described))
	for _, o := range described {
		i := m.find(&o)
		if i < 0 {
			m.report.Added = append(m.report.Added, OperationChange{Operation: o})
			out = append(out, o)
			continue
		}
		m.found[i] = true
		old := &m.before[i]
		if old.Set || old.ByHand {
			o.Declared, o.Set, o.AnyOf = o.AnyOf, true, old.AnyOf
		}
		if change := changeOf(old, &o); len(change.Fields) > 0 {
			m.report.Changed = append(m.report.Changed, change)
		}
		out = append(out, o)
	}
	for i := range m.before {
		old := m.before[i]
		switch {
		case m.found[i]:
			continue
		case old.ByHand:
			out = append(out, old)
			continue
		}
		change := OperationChange{Operation: old, Kept: old.Set || old.Gone || shadowed(&old, described)}
		m.report.Removed = append(m.report.Removed, change)
		if change.Kept {
			old.Gone = true
			out = append(out, old)
		}
	}
	uniqueIDs(out)
	return out
}

// find looks by ID, else by method and path, among operations not found yet.
func (m *merger) find(o *Operation) int {
	path := shapeOf(o.Path)
	byPath := -1
	for i := range m.before {
		old := &m.before[i]
		same := old.Method == o.Method && shapeOf(old.Path) == path
		if m.found[i] || old.ByHand && !same {
			continue
		}
		if old.ID == o.ID {
			return i
		}
		if same && byPath < 0 {
			byPath = i
		}
	}
	return byPath
}

func changeOf(old, now *Operation) OperationChange {
	c := OperationChange{Operation: *now}
	add := func(name string, differs bool) {
		if differs {
			c.Fields = append(c.Fields, name)
		}
	}
	add("id", old.ID != now.ID)
	add("method", old.Method != now.Method)
	add("path", old.Path != now.Path)
	add("summary", old.Summary != now.Summary)
	add("tags", !slices.Equal(old.Tags, now.Tags))
	add("permissions", !sameAnyOf(old.AnyOf, now.AnyOf) || old.Gone)
	// Another method or path is another request, which was refused before.
	c.Widened = old.Gone || widens(old.AnyOf, now.AnyOf)
	return c
}

// shadowed reports whether a request for a removed operation can match another
// operation.
func shadowed(removed *Operation, others []Operation) bool {
	segments := strings.Split(removed.Path, "/")
	return slices.ContainsFunc(others, func(o Operation) bool {
		if o.Method != removed.Method && !(removed.Method == "HEAD" && o.Method == "GET") {
			return false
		}
		other := strings.Split(o.Path, "/")
		return slices.EqualFunc(segments, other, func(a, b string) bool { return a == b || isTemplate(a) || isTemplate(b) })
	})
}

// shapeOf returns a path without the names of its templates.
func shapeOf(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if isTemplate(s) {
			segments[i] = "{}"
		}
	}
	return strings.Join(segments, "/")
}

// uniqueIDs renames present operations whose ID a new operation has.
func uniqueIDs(list []Operation) {
	used := map[string]bool{}
	for i := range list {
		if !used[list[i].ID] {
			used[list[i].ID] = true
			continue
		}
		list[i].ID = operationID(list[i].ID, "", "", used)
	}
}

// findOperation finds an operation by ID, or by method and path.
func findOperation(list []Operation, o *Operation) *Operation {
	path := shapeOf(o.Path)
	for i := range list {
		if list[i].ID == o.ID || list[i].Method == o.Method && shapeOf(list[i].Path) == path {
			return &list[i]
		}
	}
	return nil
}
