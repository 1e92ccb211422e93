package middleware_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

func TestCheckRoutes(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	token, both := appaccess.Access{Token: true}, appaccess.Access{Token: true, Key: true}
	c.publish([]appaccess.Product{
		{ID: "a", Access: both, APIs: []string{"echo", "mixed"}},
		{ID: "b", Access: token, APIs: []string{"admin", "mixed"}},
		{ID: "free", APIs: []string{"free"}},
	}, []appaccess.API{
		{ID: "echo", Path: "/echo"}, {ID: "admin", Path: "/echo/admin"}, {ID: "mixed", Path: "/mixed"},
		{ID: "free", Path: "/free"}, {ID: "lonely", Path: "/lonely"}, {ID: "deep", Path: "/a/b"},
	})
	g := open(t, managed(newEntra(), c))
	for pattern, want := range map[string][]string{
		"/echo":                  nil,
		"GET /echo/resource":     nil,
		"GET host/echo/{id}/x":   {"products disagree"}, // {id} may be admin
		"/echo/x/{id}":           nil,
		"/echo/":                 {"products disagree"},
		"/echo/{$}":              nil,
		"/echo/:id":              {"products disagree"},
		"/echo/*path":            {"products disagree"},
		"/echo/{rest...}":        {"products disagree"},
		"/echo/{id:[0-9]+}":      {"products disagree"},
		"POST /echo/admin/users": nil,
		"/mixed/x":               {"products disagree"},
		"/free":                  {"open"},
		"/lonely":                {"uncovered"},
		"/other":                 {"uncovered"},
		"/echoes":                {"uncovered"},
		"/{any}":                 {"uncovered", "open", "uncovered", "products disagree", "products disagree"},
		"/a/{x}":                 {"uncovered", "uncovered"},
		"/":                      {"uncovered", "uncovered", "open", "uncovered", "products disagree", "products disagree"},
	} {
		var issues []string
		for _, p := range g.CheckRoutes(pattern) {
			assert.Equal(t, pattern, p.Pattern)
			assert.NotEmpty(t, p.Detail)
			issues = append(issues, string(p.Issue))
		}
		assert.Equal(t, want, issues, "%s: %v", pattern, g.CheckRoutes(pattern))
	}
	assert.Empty(t, g.CheckRoutes("/echo", "GET /echo/resource"))
	c.snapshot.Store(nil)
	assert.Len(t, g.CheckRoutes("/echo"), 1)
}

// A disagreement is told in words.
func TestCheckRoutesDetail(t *testing.T) {
	t.Parallel()
	tokens, keys, both := appaccess.Access{Token: true}, appaccess.Access{Key: true}, appaccess.Access{Token: true, Key: true}
	for _, tc := range []struct {
		a, b appaccess.Access
		want string
	}{
		{both, tokens, "API x: a accepts tokens and keys, b accepts tokens"},
		{tokens, keys, "API x: a accepts tokens, b accepts keys"},
		{keys, both, "API x: a accepts keys, b accepts tokens and keys"},
		{appaccess.Access{}, keys, "API x: a accepts everybody, b accepts keys"},
		{keys, appaccess.Access{}, "API x: a accepts keys, b accepts everybody"},
	} {
		c := newCatalog()
		c.publish([]appaccess.Product{{ID: "a", Access: tc.a, APIs: []string{"x"}}, {ID: "b", Access: tc.b, APIs: []string{"x"}}},
			[]appaccess.API{{ID: "x", Path: "/x"}})
		problems := open(t, managed(newEntra(), c)).CheckRoutes("/x")
		require.Len(t, problems, 1, tc.want)
		assert.Equal(t, tc.want, problems[0].Detail)
		assert.Equal(t, "/x: products disagree: "+tc.want, problems[0].String())
	}
}
