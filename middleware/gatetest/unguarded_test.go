package gatetest_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/entragate/entragate/middleware/gatetest"
)

// What a route is for reaches it, and only refusals count as guarded.
func TestUnguarded(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	for pattern, status := range map[string]int{
		"GET /guarded/{id}": 401, "POST /forbidden": 403, "/tree/": 401, "GET /exact/{$}": 401, "GET api.example.com/host": 401,
		"GET /rest/{path...}": 401, "/open/{id}/x": 200, "DELETE /gone": 404, "GET /down": 503,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			assert.Empty(t, r.Header)
			w.WriteHeader(status)
		})
	}
	assert.Empty(t, gatetest.Unguarded(mux, "GET /guarded/{id}", "POST /forbidden", "/tree/", "GET /exact/{$}", "GET api.example.com/host", "GET /rest/{path...}", "/guarded/:id", "/rest/*path", "/rest/*"))
	assert.Equal(t, []string{"/open/{id}/x: 200", "DELETE /gone: 404", "GET /down: 503", "GET /forbidden: 405", "/open/:id/x: 200", "GET /host: 404"},
		gatetest.Unguarded(mux, "/open/{id}/x", "DELETE /gone", "GET /down", "GET /forbidden", "/open/:id/x", "/guarded/:id", "GET /host"))
}

// What cannot be tried does not count as guarded.
func TestUnguardedIsNotFooled(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) })
	mux.HandleFunc("POST /x", func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, []string{"/x", "192.0.2.1:1234"}, []string{r.RequestURI, r.RemoteAddr})
	})
	for _, route := range []string{"/orders/{id:[0-9]+}", "/years/{y:[0-9]{4}}", "/a/{b}/{c:x*}.json"} {
		assert.Equal(t, []string{route + ": a parameter has an expression: name a path that it takes"}, gatetest.Unguarded(mux, route))
	}
	assert.Equal(t, []string{"POST\t /x: 200"}, gatetest.Unguarded(mux, "POST\t /x"))
	assert.Len(t, gatetest.Unguarded(mux, "G@T /x", "GET /%zz"), 2)
	assert.Empty(t, gatetest.Unguarded(mux, "GET /a b", "/orders/7"))
}

// A framework that runs the handler after a refusal is found out.
func TestUnguardedFindsHandlersAfterARefusal(t *testing.T) {
	t.Parallel()
	refuse := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{ "statusCode": 401 }`))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/refused", func(w http.ResponseWriter, _ *http.Request) { refuse(w) })
	mux.HandleFunc("/bytes", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w)
		_, _ = w.Write([]byte(`{"secret":1}`))
	})
	mux.HandleFunc("/status", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w)
		w.WriteHeader(http.StatusOK)
	})
	assert.Equal(t, []string{
		"/bytes: 401, but bytes follow the refusal's body: does a handler run after the refusal?",
		"/status: 401, but the status was written twice: does a handler run after the refusal?",
	}, gatetest.Unguarded(mux, "/refused", "/bytes", "/status"))
}

func ExampleUnguarded() {
	guard := func(h http.HandlerFunc) http.Handler { // a gate's, in a real service
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			h(w, r)
		})
	}
	list := func(http.ResponseWriter, *http.Request) {}
	mux := http.NewServeMux()
	mux.Handle("GET /orders", guard(list))
	mux.Handle("GET /orders/{id}", http.HandlerFunc(list))

	for _, route := range gatetest.Unguarded(mux, "GET /orders", "GET /orders/{id}") {
		fmt.Println(route)
	}
	// Output:
	// GET /orders/{id}: 200
}
