package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func corsRules(t *testing.T, text string) map[string]corsRule {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cors.json")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	rules, err := readCORS(file)
	require.NoError(t, err)
	return rules
}

// A page of an allowed origin reads refusals as well as answers; another origin
// reads nothing. Preflights need no credential.
func TestCORS(t *testing.T) {
	t.Parallel()
	const app = "https://app.contoso.com"
	backend := record(t)
	s := openShop(t, map[string]string{"orders": backend.URL, "open": backend.URL, "none": backend.URL}, func(o *options) {
		o.CORS = corsRules(t, `{"orders": {"origins": ["`+app+`"], "expose": ["X-Order"], "maxAge": "10m"}, "open": {"origins": ["*"], "methods": ["GET"], "headers": ["Authorization"]}}`)
	})
	call := func(method, path, origin string, header ...string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.address+path, nil)
		require.NoError(t, err)
		r.Header.Set("Origin", origin)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := s.client.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp
	}
	key := []string{"Ocp-Apim-Subscription-Key", s.key}
	for name, tt := range map[string]struct {
		resp   *http.Response
		status int
		origin []string
	}{
		"refusal":             {call("GET", "/orders/x", app), 401, []string{app}},
		"answer":              {call("GET", "/orders/x", app, key...), 200, []string{app}},
		"other origin":        {call("GET", "/orders/x", "https://evil.example", key...), 200, nil},
		"other origin, 401":   {call("GET", "/orders/x", "https://evil.example"), 401, nil},
		"any origin":          {call("GET", "/open", "https://evil.example"), 401, []string{"*"}},
		"no rule":             {call("GET", "/none", app, key...), 200, []string{"https://api-own.example"}},
		"preflight":           {call("OPTIONS", "/orders/x", app, "Access-Control-Request-Method", "PUT"), 204, []string{app}},
		"preflight elsewhere": {call("OPTIONS", "/orders/x", "https://evil.example", "Access-Control-Request-Method", "PUT"), 401, nil},
		"OPTIONS alone":       {call("OPTIONS", "/orders/x", app), 401, []string{app}},
		"preflight, no rule":  {call("OPTIONS", "/none", app, "Access-Control-Request-Method", "PUT"), 401, nil},
	} {
		assert.Equal(t, tt.status, tt.resp.StatusCode, name)
		assert.Equal(t, tt.origin, tt.resp.Header["Access-Control-Allow-Origin"], name)
		assert.NotContains(t, tt.resp.Header, "Access-Control-Allow-Credentials", name)
	}
	refused := call("GET", "/orders/x", app)
	assert.Equal(t, "X-Order, WWW-Authenticate, Retry-After", refused.Header.Get("Access-Control-Expose-Headers"))
	assert.Contains(t, refused.Header.Values("Vary"), "Origin")
	preflight := call("OPTIONS", "/orders/x", app, "Access-Control-Request-Method", "PUT")
	assert.Contains(t, preflight.Header.Get("Access-Control-Allow-Methods"), "PUT")
	assert.Contains(t, preflight.Header.Get("Access-Control-Allow-Headers"), "Authorization")
	assert.Equal(t, "600", preflight.Header.Get("Access-Control-Max-Age"))
}

func TestBadCORSFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{`: "CORS_FILE", `{"x": {}}`: "origins is empty", `{"x": {"origins": ["contoso.com"]}}`: "scheme://host",
		`{"x": {"origins": ["https://contoso.com/"]}}`: "scheme://host", `{"x": {"origin": ["*"]}}`: "unknown field", `{"x": {"origins": ["*"], "maxAge": "1"}}`: "missing unit",
	} {
		file := filepath.Join(t.TempDir(), "cors.json")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := readCORS(file)
		assert.ErrorContains(t, err, want, text)
	}
	_, err := readCORS("/nonexistent/cors.json")
	assert.ErrorContains(t, err, "CORS_FILE")
}
