package entratest

import "net/http"

func (t *Tenant) serveGraph(w http.ResponseWriter, r *http.Request, path []string) {
	notImitated(w, "%s %s", r.Method, r.URL.Path)
}
