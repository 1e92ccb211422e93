package entratest

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/entragate/entragate/provision/internal/metadata"
)

// entity is an object as JSON properties.
type entity map[string]json.RawMessage

func toEntity(v any) entity {
	body, err := json.Marshal(v)
	if err != nil {
		panic("entratest: object cannot be JSON: " + err.Error())
	}
	var e entity
	if err := json.Unmarshal(body, &e); err != nil {
		panic("entratest: object is no JSON object: " + err.Error())
	}
	return e
}

// shape completes an object as Graph shows it: with every property of its type,
// collections that are empty instead of null, and the defaults of what was never
// set.
func shape(typeName string, e entity) entity {
	schema := metadata.Graph()
	for _, p := range schema.All(typeName) {
		raw, ok := e[p.Name]
		switch {
		case !ok || p.Collection && string(raw) == "null":
			e[p.Name] = schema.Default(p)
		case schema.Type(p.Type) != nil && string(raw) != "null":
			e[p.Name] = shapeValue(p, raw)
		}
	}
	return e
}

func shapeValue(p metadata.Property, raw json.RawMessage) json.RawMessage {
	if !p.Collection {
		var e entity
		mustDecode(raw, &e)
		return mustEncode(shape(p.Type, e))
	}
	var list []entity
	mustDecode(raw, &list)
	for _, e := range list {
		shape(p.Type, e)
	}
	return mustEncode(list)
}

func mustDecode(raw json.RawMessage, v any) {
	if err := json.Unmarshal(raw, v); err != nil {
		panic("entratest: stored JSON: " + err.Error())
	}
}

func mustEncode(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic("entratest: object cannot be JSON: " + err.Error())
	}
	return raw
}

// whole is a stored object with all its properties. Stored objects never change,
// so each is rendered once.
func whole(v any) entity {
	switch v := v.(type) {
	case *application:
		if v.rendered == nil {
			e := toEntity(v)
			maps.Copy(e, v.inert)
			v.rendered = shape("application", e)
		}
		return maps.Clone(v.rendered)
	case *servicePrincipal:
		if v.rendered == nil {
			v.rendered = shape("servicePrincipal", toEntity(v))
		}
		return maps.Clone(v.rendered)
	case *assignment:
		return shape("appRoleAssignment", toEntity(v))
	case federatedCredential:
		return shape("federatedIdentityCredential", toEntity(v))
	case entity:
		return v
	}
	return toEntity(v)
}

// typed is an object of a collection of several types.
func typed(typeName string, v any) entity {
	e := shape(typeName, whole(v))
	e["@odata.type"] = jsonString("#microsoft.graph." + typeName)
	return e
}

// render makes a reply of one object, with $select.
func (c *graphCall) render(status int, v any) (graphReply, *graphError) {
	e, failed := c.selected(whole(v))
	if failed != nil {
		return graphReply{}, failed
	}
	context := c.context()
	if !strings.HasPrefix(context, "microsoft.graph.") {
		context += "/$entity"
	}
	e["@odata.context"] = jsonString(c.t.graphBase() + "/v1.0/$metadata#" + context)
	return graphReply{status: status, body: e}, nil
}

// context names what an answer holds: a set, or a path for what belongs to one
// object, and the selected properties.
func (c *graphCall) context() string {
	name := c.route.context
	if name == "" {
		name = c.path[0].name + "('" + c.ownID() + "')/" + c.path[2].name
	}
	if c.query.Has("$select") {
		name += "(" + strings.ReplaceAll(c.query.Get("$select"), " ", "") + ")"
	}
	return name
}

// ownID is the ID of the object that the path begins with.
func (c *graphCall) ownID() string {
	if c.app != nil {
		return c.app.ID
	}
	return c.sp.ID
}

func jsonString(s string) json.RawMessage {
	b, _ := json.Marshal(s) // a string always marshals
	return b
}

// selected keeps the properties that $select names.
func (c *graphCall) selected(e entity) (entity, *graphError) {
	if !c.query.Has("$select") {
		return e, nil
	}
	kept := entity{}
	for name := range strings.SplitSeq(c.query.Get("$select"), ",") {
		name = strings.TrimSpace(name)
		raw, ok := e[name]
		switch {
		case ok:
			kept[name] = raw
		case !c.hasProperty(name):
			return nil, noProperty(name)
		}
	}
	if t, ok := e["@odata.type"]; ok {
		kept["@odata.type"] = t
	}
	return kept, nil
}

// hasProperty reports whether the type at the path has a property. A collection of
// several types has the properties of all of them.
func (c *graphCall) hasProperty(name string) bool {
	op, err := metadata.Graph().Resolve(c.method, c.route.pattern)
	if err != nil {
		panic("entratest: " + err.Error()) // TestMetadata resolves every route
	}
	types := []string{op.Type}
	if op.Type == "directoryObject" {
		types = []string{"application", "servicePrincipal", "directoryRole"}
	}
	return slices.ContainsFunc(types, func(t string) bool {
		_, ok := metadata.Graph().Property(t, name)
		return ok
	})
}

func noProperty(name string) *graphError {
	return refuse(http.StatusBadRequest, "BadRequest", "Could not find a property named '%s' on the type.", name)
}

// list makes a page of a collection: $filter, $select, $top, $count and
// $skiptoken.
func (c *graphCall) list(all []entity) (graphReply, *graphError) {
	eventual := strings.EqualFold(c.header.Get("ConsistencyLevel"), "eventual")
	for name := range c.query {
		if !slices.Contains([]string{"$filter", "$select", "$top", "$count", "$skiptoken"}, name) {
			return graphReply{}, unknown("the query option %s", name)
		}
	}
	counted := c.query.Get("$count") == "true"
	number := c.path[len(c.path)-1].name == "$count"
	if counted && !eventual {
		return graphReply{}, c.unsupportedQuery()
	}
	if number && !eventual {
		return graphReply{}, refuse(http.StatusBadRequest, "Request_BadRequest", "$count is not currently supported.")
	}
	if c.query.Has("$filter") {
		f, failed := parseFilter(c.query.Get("$filter"))
		if failed != nil {
			return graphReply{}, failed
		}
		if f.advanced && !(eventual && (counted || number)) {
			return graphReply{}, c.unsupportedQuery()
		}
		for _, name := range f.properties {
			if !c.hasProperty(name) {
				return graphReply{}, noProperty(name)
			}
		}
		all = slices.DeleteFunc(slices.Clone(all), func(e entity) bool { return !f.match(e) })
	}
	if number {
		return graphReply{status: http.StatusOK, body: plainText(strconv.Itoa(len(all)))}, nil
	}
	return c.page(all, counted)
}

// plainText is a body that is not JSON: the number of a $count.
type plainText string

func (c *graphCall) unsupportedQuery() *graphError {
	c.t.misuse("%s %s: an advanced query without ConsistencyLevel: eventual", c.method, c.self)
	return refuse(http.StatusBadRequest, "Request_UnsupportedQuery",
		"The specified query is not supported without the header ConsistencyLevel: eventual and $count=true.")
}

func (c *graphCall) page(all []entity, counted bool) (graphReply, *graphError) {
	size := 100
	if c.query.Has("$top") {
		n, err := strconv.Atoi(c.query.Get("$top"))
		if err != nil || n < 1 || n > 999 {
			return graphReply{}, refuse(http.StatusBadRequest, "Request_UnsupportedQuery", "Invalid page size specified: '%s'. Must be between 1 and 999 inclusive.", c.query.Get("$top"))
		}
		size = n
	}
	total := len(all)
	if c.query.Has("$skiptoken") {
		after, err := base64.RawURLEncoding.DecodeString(c.query.Get("$skiptoken"))
		i := slices.IndexFunc(all, func(e entity) bool { return string(e["id"]) == string(after) })
		if err != nil || i < 0 {
			return graphReply{}, refuse(http.StatusBadRequest, "Directory_ExpiredPageToken", "The specified page token value has expired and can no longer be included in your request.")
		}
		all = all[i+1:]
	}
	body := map[string]any{"@odata.context": c.t.graphBase() + "/v1.0/$metadata#" + c.context()}
	if counted {
		body["@odata.count"] = total
	}
	if len(all) > size {
		all = all[:size]
		q := url.Values{}
		for k, v := range c.query {
			q[k] = v
		}
		q.Set("$skiptoken", base64.RawURLEncoding.EncodeToString(all[size-1]["id"]))
		body["@odata.nextLink"] = c.t.graphBase() + c.self + "?" + q.Encode()
	}
	value := make([]entity, 0, len(all))
	for _, e := range all {
		s, failed := c.selected(e)
		if failed != nil {
			return graphReply{}, failed
		}
		value = append(value, s)
	}
	body["value"] = value
	return graphReply{status: http.StatusOK, body: body}, nil
}

func entities[T any](list []T) []entity {
	all := make([]entity, 0, len(list))
	for _, v := range list {
		all = append(all, whole(v))
	}
	return all
}
