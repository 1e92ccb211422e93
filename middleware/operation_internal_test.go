package middleware

import (
	"fmt"
	"testing"

	"github.com/entragate/entragate/appaccess"
)

// BenchmarkMatch measures the matching of 500 operations alone.
func BenchmarkMatch(b *testing.B) {
	api := &appaccess.API{Path: "/echo", Enforcement: appaccess.EnforceOperations}
	for i := range 100 {
		root := fmt.Sprintf("/resource%d", i)
		for _, p := range []string{"GET " + root, "POST " + root, "GET " + root + "/{id}", "DELETE " + root + "/{id}", "GET " + root + "/{id}/parts/{part}"} {
			var method, path string
			fmt.Sscan(p, &method, &path)
			api.Operations = append(api.Operations, appaccess.Operation{ID: p, Method: method, Path: path})
		}
	}
	ops := newOperations(api, nil)
	paths := []string{"/resource3", "/resource77/12", "/resource50/a/parts/b", "/resource99", "/resource0/x"}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if op, _ := ops.find("GET", paths[n%len(paths)]); op == nil {
			b.Fatal("no operation")
		}
		n++
	}
}
