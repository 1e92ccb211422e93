package frameworks

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/entragate/entragate/middleware"
)

// Chi uses the gate directly: chi's middleware has the type of net/http's.
func Chi(gate *middleware.Gate) chi.Router {
	r := chi.NewRouter()
	r.Route("/echo", func(r chi.Router) {
		r.Use(gate.Product("starter"))
		r.Get("/{id}", func(w http.ResponseWriter, r *http.Request) { hello(w, r, chi.URLParam(r, "id")) })
	})
	return r
}

// ChiRoutes are the patterns of a router, for [middleware.Gate.CheckRoutes].
func ChiRoutes(r chi.Router) ([]string, error) {
	var out []string
	err := chi.Walk(r, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		out = append(out, method+" "+route)
		return nil
	})
	return out, err
}
