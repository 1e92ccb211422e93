package metadata

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	s := Graph()
	for path, want := range map[string]Operation{
		"GET /applications":                                               {Type: "application", Collection: true},
		"GET /applications(uniqueName='a')?$select=id":                    {Type: "application"},
		"GET /applications/1/owners":                                      {Type: "directoryObject", Collection: true},
		"GET /applications/$count":                                        {Count: true},
		"POST /applications/1/owners/$ref":                                {Ref: true},
		"DELETE /servicePrincipals/1/appRoleAssignedTo/2":                 {Type: "appRoleAssignment"},
		"GET /directory/deletedItems/microsoft.graph.application":         {Type: "application", Collection: true},
		"GET /servicePrincipals/1/memberOf/microsoft.graph.directoryRole": {Type: "directoryRole", Collection: true},
		"GET /applications/1/federatedIdentityCredentials(name='x')":      {Type: "federatedIdentityCredential"},
	} {
		method, rest := path[:len(path)-len(path[indexSpace(path):])], path[indexSpace(path)+1:]
		got, err := s.Resolve(method, rest)
		require.NoError(t, err, path)
		assert.Equal(t, want, got, path)
	}
	op, err := s.Resolve("POST", "/directory/deletedItems/1/restore")
	require.NoError(t, err)
	assert.Equal(t, "restore", op.Action.Name)
	for _, path := range []string{"/apps", "/applications(name='x')", "/applications/1/addSecret", "/applications/1/owners/2/3/4", "/organization/1/deletedItems",
		"/directory/deletedItems/microsoft.graph.federatedIdentityCredential"} {
		_, err := s.Resolve("GET", path)
		assert.Error(t, err, path)
	}
	_, err = s.Resolve("GET", "/applications/1/addPassword")
	assert.Error(t, err)
}

func indexSpace(s string) int {
	for i, c := range s {
		if c == ' ' {
			return i
		}
	}
	return -1
}

// The check finds each kind of difference, and nothing else.
func TestCheck(t *testing.T) {
	t.Parallel()
	s := Graph()
	for body, want := range map[string]int{
		`{"id":"1","appId":"x","tags":[],"api":{"requestedAccessTokenVersion":2}}`: 0,
		`{"displayName":null,"createdDateTime":"2026-01-02T03:04:05.1234567Z"}`:    0,
		`{"tags":null}`:                   1,
		`{"tags":[1]}`:                    1,
		`{"id":null}`:                     1,
		`{"nonsense":1}`:                  1,
		`{"appRoles":[{"id":"no guid"}]}`: 1,
		`{"createdDateTime":"yesterday"}`: 1,
		`{"api":[]}`:                      1,
		`{"api":{"requestedAccessTokenVersion":2.5}}`:         1,
		`{"@odata.type":"#microsoft.graph.servicePrincipal"}`: 1,
		`{"keyCredentials":[{"key":"!"}]}`:                    1,
	} {
		var object map[string]any
		require.NoError(t, json.Unmarshal([]byte(body), &object))
		assert.Len(t, s.Check("application", object, false), want, body)
	}
	assert.Greater(t, len(s.Check("application", map[string]any{}, true)), 30, "a complete application has them all")

	whole := map[string]any{}
	for _, p := range s.All("application") {
		var v any
		require.NoError(t, json.Unmarshal(s.Default(p), &v))
		whole[p.Name] = v
	}
	whole["id"] = "1"
	assert.Empty(t, s.Check("application", whole, true), "the defaults are a valid application")
}
