package apim

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// template is an Azure Resource Manager template, as the portal and the resource
// kit export it.
type template struct {
	Parameters map[string]struct {
		Default json.RawMessage `json:"defaultValue"`
		Value   json.RawMessage `json:"value"` // in a parameters file
	} `json:"parameters"`
	Variables map[string]json.RawMessage `json:"variables"`
	Resources []resource                 `json:"resources"`
}

type resource struct {
	Type       string                     `json:"type"`
	Name       string                     `json:"name"`
	Properties map[string]json.RawMessage `json:"properties"`
	SKU        json.RawMessage            `json:"sku,omitempty"`
	Identity   json.RawMessage            `json:"identity,omitempty"`
	Resources  []resource                 `json:"resources,omitempty"`
}

// schemaOf returns whether a file is a template or a parameters file; empty: neither.
func schemaOf(raw []byte) string {
	var v struct {
		Schema string `json:"$schema"`
	}
	if json.Unmarshal(raw, &v) != nil {
		return ""
	}
	for _, kind := range []string{"deploymentTemplate", "deploymentParameters"} {
		if strings.Contains(v.Schema, "/"+kind+".json") {
			return kind
		}
	}
	return ""
}

// addTemplate adds the resources of a template. Of an expression it evaluates
// concat, parameters, variables and resourceId. A property whose expression has
// anything else in it, or a parameter without a value, is left out; a resource
// whose name has is an error.
func (s *entities) addTemplate(raw []byte, given map[string]json.RawMessage) error {
	var t template
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("not a template: %w", err)
	}
	e := evaluator{values: map[string]json.RawMessage{}}
	for name, p := range t.Parameters {
		if value, ok := given[name]; ok {
			e.values["parameters "+name] = value
		} else if p.Default != nil {
			e.values["parameters "+name] = p.Default
		}
	}
	for name, value := range t.Variables {
		e.values["variables "+name] = value
	}
	for _, r := range t.Resources {
		if err := s.addResource(e, r, "", ""); err != nil {
			return err
		}
	}
	return nil
}

func (s *entities) addResource(e evaluator, r resource, parentType, parentName string) error {
	name, err := e.text(r.Name)
	if err != nil {
		return fmt.Errorf("the name of a resource of type %s: %w", r.Type, err)
	}
	kind := r.Type
	if parentType != "" && !strings.Contains(kind, ".") {
		kind, name = parentType+"/"+kind, parentName+"/"+name
	}
	const service = "microsoft.apimanagement/service"
	kinds := strings.Split(kind, "/")
	names := strings.Split(name, "/")
	switch {
	case !strings.HasPrefix(strings.ToLower(kind)+"/", service+"/"):
		return nil
	case len(kinds) != len(names)+1:
		return fmt.Errorf("resource %q of type %s: the name must have %d parts", name, r.Type, len(kinds)-1)
	case len(names) == 1:
		raw, err := json.Marshal(resource{Type: r.Type, Name: name, Properties: e.members(r.Properties), SKU: r.SKU, Identity: r.Identity})
		if err != nil {
			return err
		}
		s.service = raw
	default:
		var path []string
		for i := 1; i < len(names); i++ {
			path = append(path, kinds[i+1], names[i])
		}
		s.add(path, e.members(r.Properties))
	}
	for _, child := range r.Resources {
		if err := s.addResource(e, child, kind, name); err != nil {
			return err
		}
	}
	return nil
}

// evaluator knows the parameters and variables of a template.
type evaluator struct{ values map[string]json.RawMessage }

// members evaluates properties. Keys are never kept.
func (e evaluator) members(in map[string]json.RawMessage) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for name, raw := range in {
		if name == "primaryKey" || name == "secondaryKey" {
			continue
		}
		if value, ok := e.value(raw); ok {
			out[name] = value
		}
	}
	return out
}

// value evaluates the expressions in a value; false: it cannot.
func (e evaluator) value(raw json.RawMessage) (json.RawMessage, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil && !isNull(raw) {
		if name, ok := strings.CutPrefix(text, "[parameters('"); ok && strings.HasSuffix(name, "')]") { // may be no text
			value, known := e.values["parameters "+strings.TrimSuffix(name, "')]")]
			return value, known
		}
		evaluated, err := e.text(text)
		if err != nil {
			return nil, false
		}
		if evaluated == text {
			return raw, true
		}
		out, err := json.Marshal(evaluated)
		return out, err == nil
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) == nil && object != nil {
		out, err := json.Marshal(e.members(object))
		return out, err == nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil && list != nil {
		kept := []json.RawMessage{}
		for _, item := range list {
			if value, ok := e.value(item); ok {
				kept = append(kept, value)
			}
		}
		out, err := json.Marshal(kept)
		return out, err == nil
	}
	return raw, true
}

// text evaluates a text, which is an expression if it is in brackets.
func (e evaluator) text(text string) (string, error) {
	if strings.HasPrefix(text, "[[") {
		return text[1:], nil
	}
	if !strings.HasPrefix(text, "[") || !strings.HasSuffix(text, "]") {
		return text, nil
	}
	value, rest, err := e.expression(strings.TrimSpace(text[1:len(text)-1]), 0)
	if err == nil && rest != "" {
		err = fmt.Errorf("%q cannot be evaluated", text)
	}
	return value, err
}

// expression evaluates a text in quotes or a call at the beginning of s.
func (e evaluator) expression(s string, depth int) (value, rest string, err error) {
	if depth > 20 {
		return "", "", errors.New("an expression is nested too deeply")
	}
	if strings.HasPrefix(s, "'") {
		end := strings.Index(s[1:], "'")
		if end < 0 {
			return "", "", errors.New("an expression has an open quote")
		}
		return s[1 : 1+end], strings.TrimSpace(s[end+2:]), nil
	}
	name, rest, ok := strings.Cut(s, "(")
	if !ok {
		return "", "", fmt.Errorf("%q cannot be evaluated", s)
	}
	var args []string
	for rest = strings.TrimSpace(rest); !strings.HasPrefix(rest, ")"); {
		var arg string
		if arg, rest, err = e.expression(rest, depth+1); err != nil {
			return "", "", err
		}
		args = append(args, arg)
		rest = strings.TrimSpace(strings.TrimPrefix(rest, ","))
	}
	value, err = e.call(strings.ToLower(strings.TrimSpace(name)), args)
	return value, strings.TrimSpace(rest[1:]), err
}

func (e evaluator) call(name string, args []string) (string, error) {
	switch {
	case name == "concat":
		return strings.Join(args, ""), nil
	case (name == "parameters" || name == "variables") && len(args) == 1:
		raw, ok := e.values[name+" "+args[0]]
		var text string
		if !ok || json.Unmarshal(raw, &text) != nil {
			return "", fmt.Errorf("%s('%s') has no value: give the parameters file too", name, args[0])
		}
		return e.text(text)
	case name == "resourceid" && len(args) > 1:
		kinds := strings.Split(args[0], "/")
		if len(kinds) != len(args) {
			return "", fmt.Errorf("resourceId('%s') has %d names", args[0], len(args)-1)
		}
		id := "/providers/" + kinds[0]
		for i, arg := range args[1:] {
			id += "/" + kinds[i+1] + "/" + arg
		}
		return id, nil
	}
	return "", fmt.Errorf("the function %s cannot be evaluated", name)
}
