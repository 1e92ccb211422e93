// Package schemacheck checks values against the part of JSON Schema that the
// published schemas of this module use. It is for tests.
package schemacheck

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Schema is a JSON Schema.
type Schema struct {
	root     map[string]any
	patterns map[string]*regexp.Regexp
}

// Parse reads a schema. It refuses keywords that [Schema.Violations] does not
// check, so that no rule of a schema goes unchecked.
func Parse(text string) (Schema, error) {
	var root map[string]any
	if err := json.Unmarshal([]byte(text), &root); err != nil {
		return Schema{}, err
	}
	s := Schema{root, map[string]*regexp.Regexp{}}
	return s, s.known("#", root)
}

// annotations are keywords that refuse nothing.
var annotations = []string{"$schema", "$id", "$defs", "title", "description", "format"}

var rules = []string{
	"$ref", "const", "enum", "type", "items", "properties", "required", "additionalProperties", "dependentRequired",
	"oneOf", "anyOf", "not", "pattern", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minimum", "maximum",
}

// known checks the keywords of a schema and compiles its patterns.
func (s Schema) known(at string, schema map[string]any) error {
	for word, value := range schema {
		if p, ok := value.(string); ok && word == "pattern" {
			re, err := regexp.Compile(p)
			if err != nil {
				return fmt.Errorf("%s/pattern: %w", at, err)
			}
			s.patterns[p] = re
		}
		if !slices.Contains(annotations, word) && !slices.Contains(rules, word) {
			return fmt.Errorf("%s has the keyword %s, which is not checked", at, word)
		}
		if word == "additionalProperties" && value != false {
			return fmt.Errorf("%s/additionalProperties is %v, expected false", at, value)
		}
		below := map[string]any{}
		switch v := value.(type) {
		case map[string]any:
			below = v
			if word == "items" || word == "not" {
				below = map[string]any{"": v}
			} else if word != "$defs" && word != "properties" {
				continue
			}
		case []any:
			if word != "oneOf" && word != "anyOf" {
				continue
			}
			for i, one := range v {
				below[fmt.Sprint(i)] = one
			}
		}
		for name, one := range below {
			sub, ok := one.(map[string]any)
			if !ok {
				return fmt.Errorf("%s/%s/%s is not a schema", at, word, name)
			}
			if err := s.known(strings.TrimSuffix(at+"/"+word+"/"+name, "/"), sub); err != nil {
				return err
			}
		}
	}
	return nil
}

// Def is a schema below $defs, with the same $defs. It panics if the schema has no such definition.
func (s Schema) Def(name string) Schema {
	root := map[string]any{"$ref": "#/$defs/" + name, "$defs": s.defs()}
	s.follow(root)
	return Schema{root, s.patterns}
}

func (s Schema) defs() map[string]any { return s.root["$defs"].(map[string]any) }

func (s Schema) follow(schema map[string]any) map[string]any {
	ref, ok := schema["$ref"].(string)
	if !ok {
		return schema
	}
	def, ok := s.defs()[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	if !ok {
		panic("the schema has no " + ref)
	}
	return def
}

// Object describes an object schema.
type Object struct {
	Closed     bool // it refuses members that it does not name
	Properties map[string]Schema
	Described  map[string]bool // properties with a description, of their own or of the schema they refer to
}

// Object returns the object schema; ok is false if the schema is of another type.
func (s Schema) Object() (o Object, ok bool) {
	schema := s.follow(s.root)
	if schema["type"] != "object" {
		return o, false
	}
	o = Object{Closed: schema["additionalProperties"] == false, Properties: map[string]Schema{}, Described: map[string]bool{}}
	properties, _ := schema["properties"].(map[string]any)
	for name, p := range properties {
		property := p.(map[string]any)
		o.Properties[name] = s.below(property)
		o.Described[name] = property["description"] != nil || s.follow(property)["description"] != nil
	}
	return o, true
}

// Items returns the schema of a list's items; ok is false without the keyword items.
func (s Schema) Items() (items Schema, ok bool) {
	schema, ok := s.follow(s.root)["items"].(map[string]any)
	if !ok {
		return Schema{}, false
	}
	return s.below(schema), true
}

func (s Schema) below(schema map[string]any) Schema {
	root := map[string]any{"$defs": s.root["$defs"]}
	for word, v := range schema {
		root[word] = v
	}
	return Schema{root, s.patterns}
}

// Violations lists the rules of the schema that a JSON text breaks; at
// names the text in the messages.
func (s Schema) Violations(at string, text []byte) []string {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return []string{at + " is not JSON: " + err.Error()}
	}
	return s.check(s.root, v, at)
}

func (s Schema) check(schema map[string]any, v any, at string) (found []string) {
	fail := func(format string, args ...any) { found = append(found, at+" "+fmt.Sprintf(format, args...)) }
	if _, ok := schema["$ref"]; ok {
		found = s.check(s.follow(schema), v, at)
	}
	if want, ok := schema["const"]; ok && want != v {
		fail("is %v, expected %v", v, want)
	}
	if allowed, ok := schema["enum"].([]any); ok && !slices.Contains(allowed, v) {
		fail("is %v, expected one of %v", v, allowed)
	}
	if !isType(schema["type"], v) {
		fail("is a %T, expected %v", v, schema["type"])
		return found
	}
	if not, ok := schema["not"].(map[string]any); ok && len(s.check(not, v, at)) == 0 {
		fail("is what \"not\" refuses")
	}
	for _, word := range []string{"oneOf", "anyOf"} {
		if choices, ok := schema[word].([]any); ok {
			passed := 0
			for _, choice := range choices {
				if len(s.check(choice.(map[string]any), v, at)) == 0 {
					passed++
				}
			}
			if passed == 0 || word == "oneOf" && passed > 1 {
				fail("passes %d choices of %s", passed, word)
			}
		}
	}
	bounds := func(what string, n float64, least, most string) {
		if limit, ok := schema[least].(float64); ok && n < limit {
			fail("has %s %v, expected at least %v", what, n, limit)
		}
		if limit, ok := schema[most].(float64); ok && n > limit {
			fail("has %s %v, expected at most %v", what, n, limit)
		}
	}
	switch v := v.(type) {
	case float64:
		bounds("value", v, "minimum", "maximum")
	case string:
		bounds("length", float64(utf8.RuneCountInString(v)), "minLength", "maxLength")
		if p, ok := schema["pattern"].(string); ok && !s.patterns[p].MatchString(v) {
			fail("is %q, expected %s", v, p)
		}
	case []any:
		bounds("length", float64(len(v)), "minItems", "maxItems")
		seen := map[string]bool{}
		for i, item := range v {
			if items, ok := schema["items"].(map[string]any); ok {
				found = append(found, s.check(items, item, fmt.Sprintf("%s[%d]", at, i))...)
			}
			text, _ := json.Marshal(item)
			if schema["uniqueItems"] == true && seen[string(text)] {
				fail("holds %s twice", text)
			}
			seen[string(text)] = true
		}
	case map[string]any:
		found = append(found, s.checkObject(schema, v, at)...)
	}
	return found
}

func (s Schema) checkObject(schema, v map[string]any, at string) (found []string) {
	need := func(names any) {
		list, _ := names.([]any)
		for _, name := range list {
			if _, ok := v[name.(string)]; !ok {
				found = append(found, fmt.Sprintf("%s has no %s", at, name))
			}
		}
	}
	need(schema["required"])
	properties, _ := schema["properties"].(map[string]any)
	dependent, _ := schema["dependentRequired"].(map[string]any)
	for name, member := range v {
		need(dependent[name])
		if property, ok := properties[name].(map[string]any); ok {
			found = append(found, s.check(property, member, at+"."+name)...)
		} else if schema["additionalProperties"] == false {
			found = append(found, at+" has the unknown member "+name)
		}
	}
	return found
}

// isType reports whether a value has a type, or one of several.
func isType(want, v any) bool {
	switch want := want.(type) {
	case nil:
		return true
	case []any:
		return slices.ContainsFunc(want, func(one any) bool { return isType(one, v) })
	case string:
		switch v := v.(type) {
		case nil:
			return want == "null"
		case bool:
			return want == "boolean"
		case string:
			return want == "string"
		case float64:
			return want == "number" || want == "integer" && v == float64(int64(v))
		case []any:
			return want == "array"
		case map[string]any:
			return want == "object"
		}
	}
	return false
}
