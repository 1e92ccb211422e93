package entratest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
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
	for name, raw := range e { // Graph has empty collections where Go has nil
		if string(raw) == "null" && collections[name] {
			e[name] = json.RawMessage("[]")
		}
	}
	return e
}

var collections = map[string]bool{
	"identifierUris": true, "tags": true, "appRoles": true, "requiredResourceAccess": true, "passwordCredentials": true,
	"keyCredentials": true, "servicePrincipalNames": true, "audiences": true, "allowedMemberTypes": true,
}

// render makes a reply of one object, with $select.
func (c *graphCall) render(status int, body any) (graphReply, *graphError) {
	e, failed := c.selected(toEntity(body))
	if failed != nil {
		return graphReply{}, failed
	}
	e["@odata.context"] = jsonString(c.t.base + "/v1.0/$metadata#" + c.path[0].name + "/$entity")
	return graphReply{status: status, body: e}, nil
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
		if !ok {
			return nil, noProperty(name)
		}
		kept[name] = raw
	}
	if t, ok := e["@odata.type"]; ok {
		kept["@odata.type"] = t
	}
	return kept, nil
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
	if counted && !eventual {
		return graphReply{}, c.unsupportedQuery()
	}
	if c.query.Has("$filter") {
		f, failed := parseFilter(c.query.Get("$filter"))
		if failed != nil {
			return graphReply{}, failed
		}
		if f.advanced && !(eventual && counted) {
			return graphReply{}, c.unsupportedQuery()
		}
		for _, name := range f.properties {
			if len(all) > 0 && !slices.ContainsFunc(all, func(e entity) bool { return e[name] != nil }) {
				return graphReply{}, noProperty(name)
			}
		}
		all = slices.DeleteFunc(slices.Clone(all), func(e entity) bool { return !f.match(e) })
	}
	return c.page(all, counted)
}

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
	body := map[string]any{"@odata.context": c.t.base + "/v1.0/$metadata#" + c.path[0].name}
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
		body["@odata.nextLink"] = c.t.base + c.self + "?" + q.Encode()
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
		all = append(all, toEntity(v))
	}
	return all
}
