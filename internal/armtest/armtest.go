// Package armtest is an Azure Resource Manager that answers with a recorded API
// Management instance.
package armtest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Server answers with a recorded instance. It is safe for concurrent use.
type Server struct {
	*httptest.Server
	dir     string
	answers []answer

	mu       sync.Mutex
	asked    []string
	override func(r *http.Request) (file string, ok bool) // an error of the folder errors instead
}

type answer struct {
	Method, Path, APIVersion string
	Query                    map[string]string
	Status                   int
	File                     string
}

// New serves the recording in a folder over TLS until the test ends: index.json
// lists requests and the files that answer them.
func New(t testing.TB, dir string) *Server {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	require.NoError(t, err)
	f := &Server{dir: dir}
	require.NoError(t, json.Unmarshal(raw, &f.answers))
	require.NotEmpty(t, f.answers)
	f.Server = httptest.NewTLSServer(f)
	t.Cleanup(f.Close)
	return f
}

// ServeHTTP answers as the recorded instance did.
func (f *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.Method+" "+r.URL.EscapedPath())
	override := f.override
	f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if override != nil {
		if file, ok := override(r); ok {
			f.fail(w, file)
			return
		}
	}
	if r.Method == http.MethodPost && r.ContentLength != 0 {
		f.fail(w, "400-empty-body-expected.json")
		return
	}
	for _, a := range f.answers {
		if a.matches(r) {
			f.serve(w, a)
			return
		}
	}
	f.fail(w, "404-policy.json")
}

func (a *answer) matches(r *http.Request) bool {
	q := r.URL.Query()
	if a.Method != r.Method || !strings.EqualFold(a.Path, r.URL.EscapedPath()) || a.APIVersion != q.Get("api-version") {
		return false
	}
	for _, name := range []string{"$skip", "expandGroups"} {
		if a.Query[name] != q.Get(name) {
			return false
		}
	}
	return a.Query["format"] == "" || a.Query["format"] == q.Get("format")
}

func (f *Server) serve(w http.ResponseWriter, a answer) {
	raw, err := os.ReadFile(filepath.Join(f.dir, a.File))
	if err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	body := strings.NewReplacer("https://management.azure.com:443/", f.URL+"/", "https://management.azure.com/", f.URL+"/").Replace(string(raw))
	w.WriteHeader(a.Status)
	_, _ = w.Write([]byte(body))
}

func (f *Server) fail(w http.ResponseWriter, file string) {
	raw, err := os.ReadFile(filepath.Join(f.dir, "errors", file))
	var v struct {
		Status  int
		Headers map[string]string
		Body    json.RawMessage
	}
	if err != nil || json.Unmarshal(raw, &v) != nil {
		http.Error(w, "no such error", http.StatusTeapot)
		return
	}
	for name, value := range v.Headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(v.Status)
	_, _ = w.Write(v.Body)
}

// Fail makes requests fail with a recorded error: the file, if ok.
func (f *Server) Fail(override func(r *http.Request) (file string, ok bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.override = override
}

// Instead makes requests whose path ends in suffix fail with a recorded error.
func (f *Server) Instead(suffix, file string) {
	f.Fail(func(r *http.Request) (string, bool) { return file, strings.HasSuffix(r.URL.Path, suffix) })
}

// Requests are method and path of all requests so far.
func (f *Server) Requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}
