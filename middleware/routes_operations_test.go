package middleware_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
)

func TestCheckRoutesComparesOperations(t *testing.T) {
	t.Parallel()
	operations := []appaccess.Operation{
		op("GET", "/orders", []string{"Read"}),
		op("POST", "/orders", []string{"Write"}),
		op("GET", "/orders/{id}", []string{"Read"}),
		op("GET", "/orders/mine", []string{"Read"}),
		op("GET", "/orders/audit", []string{"Admin"}),
		op("HEAD", "/orders", []string{"Admin"}),
		{ID: "gone", Method: "GET", Path: "/old", Gone: true},
	}
	routes := []string{"GET /echo/orders", "POST /echo/orders", "GET /echo/orders/{id}", "/echo/orders/audit"}
	g := open(t, withOperations(appaccess.EnforceOperations, operations))
	assert.Empty(t, g.CheckRoutes(routes...), "mine needs what {id} needs, and audit has a handler of its own")

	for _, c := range []struct {
		name   string
		routes []string
		want   []string
	}{
		{"the handler of {id} also gets audit", []string{"GET /echo/orders", "POST /echo/orders", "GET /echo/orders/{id}"},
			[]string{"GET /echo/orders/{id}: operations differ: API echo: GET /orders/{id} needs Read, GET /orders/audit needs Admin"}},
		{"one handler of several methods", []string{"/echo/orders", "GET /echo/orders/:id", "GET /echo/orders/audit"},
			[]string{"/echo/orders: operations differ: API echo: GET /orders needs Read, POST /orders needs Write"}},
		{"GET and HEAD apart", append([]string{"HEAD /echo/orders"}, routes...), nil},
		{"every method of a path without POST", []string{"POST /echo/orders", "/echo/orders", "GET /echo/orders/{id}", "GET /echo/orders/audit"},
			[]string{"/echo/orders: operations differ: API echo: GET /orders needs Read, HEAD /orders needs Admin"}},
		{"a subtree", []string{"/echo/"},
			[]string{"/echo/: operations differ: API echo: GET /orders needs Read, POST /orders needs Write"}},
		{"a subtree beside routes of its own", append([]string{"GET /echo/"}, routes...), []string{"GET /echo/: uncovered: API echo has no operation for it"}},
		{"a route without operation", append([]string{"PUT /echo/orders", "GET /echo/other"}, routes...),
			[]string{"PUT /echo/orders: uncovered: API echo has no operation for it", "GET /echo/other: uncovered: API echo has no operation for it"}},
		{"HEAD of a GET operation", append([]string{"HEAD /echo/orders/{id}"}, routes...), nil},
		{"no route", []string{"GET /echo/orders", "GET /echo/orders/{id}", "/echo/orders/audit"},
			[]string{"POST /echo/orders: no route: API echo, operation post/orders: no pattern matches it"}},
		{"only HEAD", append([]string{"HEAD /echo/orders"}, routes[1:]...),
			[]string{"GET /echo/orders: no route: API echo, operation get/orders: no pattern matches it"}},
		{"a literal", append([]string{"GET /echo/orders/7"}, routes...), nil},
		{"part of a segment", append([]string{"GET /echo/orders/a{rest}"}, routes...), nil},
		{"part of a segment that hides audit", []string{"GET /echo/orders", "POST /echo/orders", "GET /echo/orders/{id}", "GET /echo/orders/a{rest}"},
			[]string{"GET /echo/orders/a{rest}: operations differ: API echo: GET /orders/{id} needs Read, GET /orders/audit needs Admin"}},
	} {
		var got []string
		for _, p := range g.CheckRoutes(c.routes...) {
			got = append(got, p.String())
		}
		assert.Equal(t, c.want, got, c.name)
	}

	assert.Empty(t, open(t, withOperations(appaccess.ShowOperations, operations)).CheckRoutes("/echo/"), "they are only shown")
	reported := open(t, withOperations(appaccess.ReportOperations, operations)).CheckRoutes("/echo/other", routes[0], routes[2], routes[3])
	require.Len(t, reported, 1, "as long as they are reported, the gate lets /echo/other pass")
	assert.Equal(t, middleware.RouteMissing, reported[0].Issue)
}

func TestCheckRoutesOfManyOperations(t *testing.T) {
	t.Parallel()
	var operations []appaccess.Operation
	routes := []string{"/"}
	for i := range 500 {
		operations = append(operations, op("GET", fmt.Sprintf("/resource%d/{id}", i), []string{"Read"}))
		routes = append(routes, fmt.Sprintf("GET /echo/resource%d/{id}", i))
	}
	for _, p := range open(t, withOperations(appaccess.EnforceOperations, operations)).CheckRoutes(routes...) {
		assert.Equal(t, "/", p.Pattern, p)
		assert.False(t, strings.Contains(p.Detail, "resource"), p)
	}
}
