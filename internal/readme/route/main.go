// Command route is the program that the README shows.
package main

import (
	"fmt"
	"log"
	"net/http"

	"github.com/entragate/entragate/middleware"
)

func main() {
	gate, err := middleware.New(middleware.Config{
		Tenants: []string{"<tenant ID>"},
		Products: []middleware.Product{{
			ID:        "starter",
			Audiences: []string{"<application ID>", "api://<application ID>"},
			Role:      "Product.Starter.All",
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer gate.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /echo/resource", func(w http.ResponseWriter, r *http.Request) {
		caller, _ := middleware.PrincipalFrom(r.Context())
		fmt.Fprintf(w, "hello %s\n", caller.ClientID)
	})
	log.Fatal(http.ListenAndServe("localhost:8080", gate.Product("starter")(mux)))
}
