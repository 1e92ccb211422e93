// Package metadata holds the shapes of Microsoft Graph v1.0 that provisioning
// touches, from Microsoft's published metadata. Package entratest answers with
// these shapes, and tests check every request and response against them.
package metadata

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
)

//go:embed graph-v1.0.txt
var table string

// Schema is all types by name.
type Schema struct {
	types      map[string]*Type
	sets       map[string]string // entity sets and singletons: type
	singletons map[string]bool
	actions    map[string][]Action
}

// Type is an entity or a complex type.
type Type struct {
	Name       string
	Base       string
	Entity     bool
	Keys       []string // alternate keys
	Properties []Property
	Navigation []Property
}

// Property is a property or a navigation property.
type Property struct {
	Name       string
	Type       string // without brackets
	Collection bool
	Nullable   bool
}

// Action is an action that is bound to a type.
type Action struct {
	Name       string
	Bound      Property // the type that it is bound to
	Returns    Property // Type "none": nothing
	Parameters []Property
}

// Graph is the schema. It is read once.
var Graph = sync.OnceValue(func() *Schema {
	s, err := parse(table)
	if err != nil {
		panic("metadata: graph-v1.0.txt: " + err.Error()) // the table is part of the program
	}
	return s
})

func parse(text string) (*Schema, error) {
	s := &Schema{types: map[string]*Type{}, sets: map[string]string{}, singletons: map[string]bool{}, actions: map[string][]Action{}}
	var current *Type
	var action string
	for n, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || f[0][0] == '#':
		case line[0] == '\t' && action != "":
			list := s.actions[action]
			last := &list[len(list)-1]
			last.Parameters = append(last.Parameters, property(f[0], f[1]))
		case line[0] == '\t' && f[0] == "nav":
			current.Navigation = append(current.Navigation, property(f[1], f[2]))
		case line[0] == '\t' && f[0] == "key":
			current.Keys = append(current.Keys, f[1])
		case line[0] == '\t':
			current.Properties = append(current.Properties, property(f[0], f[1]))
		case f[0] == "entity" || f[0] == "complex":
			current, action = &Type{Name: f[1], Entity: f[0] == "entity"}, ""
			if len(f) == 4 {
				current.Base = f[3]
			}
			s.types[f[1]] = current
		case f[0] == "action":
			action = f[1]
			s.actions[action] = append(s.actions[action], Action{Name: action, Bound: property("", f[2]), Returns: property("", f[4])})
		case f[0] == "set" || f[0] == "singleton":
			s.sets[f[1]], s.singletons[f[1]], action = f[2], f[0] == "singleton", ""
		default:
			return nil, fmt.Errorf("line %d is not understood", n+1)
		}
	}
	return s, nil
}

func property(name, spec string) Property {
	p := Property{Name: name}
	spec, p.Nullable = strings.CutSuffix(spec, "?")
	if rest, ok := strings.CutPrefix(spec, "["); ok {
		spec, p.Collection = strings.TrimSuffix(rest, "]"), true
	}
	p.Type = spec
	return p
}

// Type finds a type by name; nil: the table has none.
func (s *Schema) Type(name string) *Type { return s.types[name] }

// All are the properties of a type and of the types that it extends, without
// streams, which have addresses of their own.
func (s *Schema) All(name string) []Property {
	t := s.types[name]
	if t == nil {
		return nil
	}
	all := s.All(t.Base)
	for _, p := range t.Properties {
		if p.Type != "Stream" {
			all = append(all, p)
		}
	}
	return all
}

// Property finds a property of a type or of a type that it extends.
func (s *Schema) Property(typeName, name string) (Property, bool) {
	for _, p := range s.All(typeName) {
		if p.Name == name {
			return p, true
		}
	}
	return Property{}, false
}

// navigation finds a navigation property.
func (s *Schema) navigation(typeName, name string) (Property, bool) {
	for t := s.types[typeName]; t != nil; t = s.types[t.Base] {
		for _, p := range t.Navigation {
			if p.Name == name {
				return p, true
			}
		}
	}
	return Property{}, false
}

// is reports whether a type is another one or extends it.
func (s *Schema) is(typeName, other string) bool {
	for t := s.types[typeName]; t != nil; t = s.types[t.Base] {
		if t.Name == other {
			return true
		}
	}
	return false
}
