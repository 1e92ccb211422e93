package metadata

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Operation is the operation that a method and a path name.
type Operation struct {
	// Type is the type of the object, or of the items of the collection, that the
	// path addresses. "" for $count and $ref.
	Type       string
	Collection bool
	Action     *Action // of a POST that calls one
	// Ref: the path addresses links ($ref), Count: a number ($count).
	Ref, Count bool
}

// Resolve finds the operation of a path below the version, such as
// /applications(appId='…')/owners. Its error says which segment Graph does not
// have.
func (s *Schema) Resolve(method, path string) (Operation, error) {
	path, _, _ = strings.Cut(path, "?")
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	var at Operation
	for i, raw := range segments {
		name, key, keyed := strings.Cut(raw, "(")
		next, ok, err := s.step(at, i, name)
		if err != nil {
			return Operation{}, fmt.Errorf("%s %s: %w", method, path, err)
		}
		if !ok {
			return Operation{}, fmt.Errorf("%s %s: nothing named %q", method, path, raw)
		}
		at = next
		if keyed {
			if alias, _, named := strings.Cut(key, "="); named && !s.hasKey(at.Type, alias) {
				return Operation{}, fmt.Errorf("%s %s: %s has no alternate key %q", method, path, at.Type, alias)
			}
			at.Collection = false
		}
	}
	if at.Action != nil && method != http.MethodPost {
		return Operation{}, fmt.Errorf("%s %s: an action takes POST", method, path)
	}
	return at, nil
}

func (s *Schema) hasKey(typeName, alias string) bool {
	t := s.types[typeName]
	return t != nil && slices.Contains(t.Keys, alias)
}

// step goes one segment on.
func (s *Schema) step(at Operation, i int, name string) (Operation, bool, error) {
	if i == 0 {
		set, ok := s.sets[name]
		return Operation{Type: set, Collection: !s.singletons[name]}, ok, nil
	}
	if at.Action != nil || at.Ref || at.Count {
		return at, false, nil
	}
	switch {
	case name == "$ref":
		return Operation{Ref: true}, true, nil
	case name == "$count" && at.Collection:
		return Operation{Count: true}, true, nil
	}
	if cast, ok := strings.CutPrefix(name, "microsoft.graph."); ok && s.types[cast] != nil {
		if !s.is(cast, at.Type) {
			return at, false, fmt.Errorf("%s is no %s", cast, at.Type)
		}
		return Operation{Type: cast, Collection: at.Collection}, true, nil
	}
	for _, a := range s.actions[name] {
		if a.Bound.Collection == at.Collection && s.is(at.Type, a.Bound.Type) {
			return Operation{Type: a.Returns.Type, Collection: a.Returns.Collection, Action: &a}, true, nil
		}
	}
	if at.Collection {
		return Operation{Type: at.Type}, true, nil // a key as a segment
	}
	nav, ok := s.navigation(at.Type, name)
	return Operation{Type: nav.Type, Collection: nav.Collection}, ok, nil
}
