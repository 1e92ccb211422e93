package metadata

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Check compares a decoded JSON object with a type. complete demands every
// property of an entity, as Graph gives them where no $select leaves some out. The
// result names each difference; nil if object and type agree.
func (s *Schema) Check(typeName string, object map[string]any, complete bool) []string {
	return s.check(typeName, typeName, object, complete)
}

// CheckParameters compares the body of a call with an action's parameters.
func (s *Schema) CheckParameters(a Action, body map[string]any) []string {
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(body)) {
		i := slices.IndexFunc(a.Parameters, func(p Property) bool { return p.Name == name })
		if i < 0 {
			wrong = append(wrong, fmt.Sprintf("%s has no parameter %q", a.Name, name))
			continue
		}
		wrong = append(wrong, s.value(a.Name+"."+name, a.Parameters[i], body[name], false)...)
	}
	return wrong
}

func (s *Schema) check(path, typeName string, object map[string]any, complete bool) []string {
	var wrong []string
	if cast, ok := object["@odata.type"].(string); ok {
		cast = strings.TrimPrefix(cast, "#microsoft.graph.")
		if !s.is(cast, typeName) {
			wrong = append(wrong, fmt.Sprintf("%s: @odata.type %s is no %s", path, cast, typeName))
		}
		typeName = cast
	}
	if s.types[typeName] == nil {
		return append(wrong, fmt.Sprintf("%s: the metadata has no type %s", path, typeName))
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if strings.HasPrefix(name, "@odata.") || strings.Contains(name, "@odata.") {
			continue
		}
		p, ok := s.Property(typeName, name)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s: %s has no property %q", path, typeName, name))
			continue
		}
		wrong = append(wrong, s.value(path+"."+name, p, object[name], complete)...)
	}
	if complete {
		for _, p := range s.All(typeName) {
			if _, ok := object[p.Name]; !ok {
				wrong = append(wrong, fmt.Sprintf("%s.%s is missing", path, p.Name))
			}
		}
	}
	return wrong
}

func (s *Schema) value(path string, p Property, v any, complete bool) []string {
	if !p.Collection {
		if v == nil {
			if p.Nullable {
				return nil
			}
			return []string{path + " is null, and may not be"}
		}
		return s.one(path, p.Type, v, complete)
	}
	list, ok := v.([]any)
	if !ok {
		return []string{fmt.Sprintf("%s is %v, expected a collection", path, v)}
	}
	var wrong []string
	for i, item := range list {
		wrong = append(wrong, s.one(fmt.Sprintf("%s[%d]", path, i), p.Type, item, complete)...)
	}
	return wrong
}

func (s *Schema) one(path, typeName string, v any, complete bool) []string {
	if s.types[typeName] != nil {
		object, ok := v.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %v, expected a %s", path, v, typeName)}
		}
		return s.check(path, typeName, object, complete)
	}
	if !primitive(typeName, v) {
		return []string{fmt.Sprintf("%s is %#v, expected %s", path, v, typeName)}
	}
	return nil
}

// primitive checks a value of an EDM type:
// https://docs.oasis-open.org/odata/odata-json-format/v4.01/
func primitive(typeName string, v any) bool {
	text, isText := v.(string)
	switch typeName {
	case "Boolean":
		_, ok := v.(bool)
		return ok
	case "Int32":
		n, ok := v.(float64)
		return ok && n == math.Trunc(n) && math.Abs(n) <= math.MaxInt32
	case "Guid":
		_, err := uuid.Parse(text)
		return isText && err == nil && len(text) == 36
	case "DateTimeOffset":
		_, err := time.Parse(time.RFC3339Nano, text)
		return isText && err == nil
	case "Binary":
		_, std := base64.StdEncoding.DecodeString(text)
		_, url := base64.RawURLEncoding.DecodeString(text)
		return isText && (std == nil || url == nil)
	}
	return isText // String, Duration and enumerations
}

// always are the complex properties of a registration that Graph gives as
// objects whether they were set or not. Others are null until they are set.
var always = []string{"api", "info", "parentalControlSettings", "publicClient", "spa", "verifiedPublisher", "web", "implicitGrantSettings"}

// Default is a property as Graph shows it when it was never set: an empty
// collection, an object of defaults, false or null.
func (s *Schema) Default(p Property) json.RawMessage {
	switch {
	case p.Collection:
		return json.RawMessage("[]")
	case slices.Contains(always, p.Name):
		object := map[string]json.RawMessage{}
		for _, inner := range s.All(p.Type) {
			object[inner.Name] = s.Default(inner)
		}
		raw, err := json.Marshal(object)
		if err != nil {
			panic(err) // a map of valid JSON
		}
		return raw
	case p.Type == "Boolean" && (!p.Nullable || strings.HasPrefix(p.Name, "enable")):
		return json.RawMessage("false")
	}
	return json.RawMessage("null")
}
