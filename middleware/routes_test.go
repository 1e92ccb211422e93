package middleware_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
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
	problems := open(t, config(newEntra())).CheckRoutes("/echo")
	require.Len(t, problems, 1)
	assert.Contains(t, problems[0].Detail, "there are no APIs")
	c.snapshot.Store(nil)
	assert.Len(t, g.CheckRoutes("/echo"), 1)
}

// A pattern is held against every API that a router lets its paths reach.
func TestCheckRoutesOfPartsOfSegments(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	token := appaccess.Access{Token: true}
	c.publish([]appaccess.Product{
		{ID: "a", Access: token, APIs: []string{"root", "dog"}}, {ID: "free", APIs: []string{"admin", "deep"}},
	}, []appaccess.API{
		{ID: "root", Path: "/"}, {ID: "admin", Path: "/user_admin"}, {ID: "dog", Path: "/dog"}, {ID: "deep", Path: "/user_x/deep"},
	})
	g := open(t, managed(newEntra(), c))
	for pattern, want := range map[string]bool{ // whether something is wrong
		"/user_:name":        true,
		"/user_{name}":       true,
		"/user_*rest":        true,
		"/user_*":            true,
		"/{p:.+}.json":       true, // chi's expressions cross segments
		"/{p:[^.]+}.json":    true,
		"/user_x/:a":         true,
		"/user%5Fadmin":      true, // net/http unescapes patterns
		"GET /user%5Fadmin/": true,
		"/user_admin/x":      true,
		"/{id:[a/b]}/x":      true,
		"/{id}.json":         true,
		"/dog:feed":          false,
		"/dog_:name":         false,
		"/dog_*":             false,
		"/dog/{rest...}":     false,
		"/users":             false,
		"/dog/{id}":          false,
		"/dog/":              false,
		"/user_admin2":       false,
		"/dog%2Fx":           true, // the gate refuses such paths
		"/dog//x":            true,
		"/dog/../user_admin": true,
		"/dog/%2e%2e/x":      true,
		"/dog/%zz":           true,
		"/dog/a\\b":          true,
	} {
		assert.Equal(t, want, len(g.CheckRoutes(pattern)) > 0, "%s: %v", pattern, g.CheckRoutes(pattern))
	}
	assert.Equal(t, []middleware.RouteProblem{{
		Pattern: "/dog//x", Issue: middleware.RouteUncovered, Detail: "the gate refuses its paths: empty segments, dot segments, encoded slashes",
	}}, g.CheckRoutes("/dog//x"))
}

// A wildcard of several segments may also end below every API's path.
func TestCheckRoutesBehindAnExpression(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	c.publish([]appaccess.Product{
		{ID: "a", Access: appaccess.Access{Token: true}, APIs: []string{"root", "deep"}}, {ID: "free", APIs: []string{"v1"}},
	}, []appaccess.API{{ID: "root", Path: "/"}, {ID: "v1", Path: "/v1"}, {ID: "deep", Path: "/v1/x"}})
	assert.NotEmpty(t, open(t, managed(newEntra(), c)).CheckRoutes("/{p:.*}.json/x"))

	c.publish([]appaccess.Product{{ID: "a", Access: appaccess.Access{Token: true}, APIs: []string{"x"}}}, []appaccess.API{{ID: "x", Path: "/x"}})
	assert.NotEmpty(t, open(t, managed(newEntra(), c)).CheckRoutes("/{id:[a/b]}/x"))
}

// An error describes the disagreement.
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
