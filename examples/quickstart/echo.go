package main

import (
	"encoding/json"
	"io"
	"net/http"

	"github.com/entragate/entragate/middleware"
)

// echo is the backend of the Echo API: it answers with what it was sent and
// with who the gate says is calling. It shows no header, so no credential.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, "the body is larger than 1 MiB", http.StatusRequestEntityTooLarge)
		return
	}
	answer := map[string]any{
		"method": r.Method,
		"path":   r.URL.Path,
		"query":  r.URL.Query(),
		"body":   string(body),
	}
	if p, ok := middleware.PrincipalFrom(r.Context()); ok {
		answer["caller"] = p
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}
