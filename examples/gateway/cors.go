package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// corsRule says which pages may call an API from a browser. CORS_FILE maps the
// IDs of APIs to rules; the ID * is for all others:
//
//	{"orders": {"origins": ["https://app.contoso.com"], "maxAge": "10m"}}
//
// Cookies are never allowed: a page sends its token in a header.
type corsRule struct {
	// Origins are scheme, host and port, or * for all.
	Origins []string `json:"origins"`
	// Methods are GET, HEAD, POST, PUT, PATCH and DELETE if empty.
	Methods []string `json:"methods"`
	// Headers are what a page may send: Authorization, Content-Type and the
	// subscription key's header if empty.
	Headers []string `json:"headers"`
	// Expose is what a page may read, beside the challenge and Retry-After.
	Expose []string `json:"expose"`
	// MaxAge is how long a browser may keep the answer, such as "10m".
	MaxAge duration `json:"maxAge"`
}

type duration time.Duration

func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = duration(v)
	return err
}

func readCORS(file string) (map[string]corsRule, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("CORS_FILE: %w", err)
	}
	var rules map[string]corsRule
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&rules); err != nil {
		return nil, fmt.Errorf("CORS_FILE: %w", err)
	}
	for id, rule := range rules {
		if len(rule.Origins) == 0 {
			return nil, fmt.Errorf("CORS_FILE: %s: origins is empty", id)
		}
		for _, origin := range rule.Origins {
			if u, err := url.Parse(origin); origin != "*" && (err != nil || u.Host == "" || u.Scheme+"://"+u.Host != origin) {
				return nil, fmt.Errorf("CORS_FILE: %s: origin %q is not scheme://host, as in https://app.contoso.com", id, origin)
			}
		}
	}
	return rules, nil
}

// cors answers preflights, which carry no credential, and lets pages read all
// other answers, refusals included.
type cors struct {
	catalog *appaccess.Catalog
	rules   map[string]corsRule
}

type corsKey struct{}

func (c *cors) wrap(next http.Handler) http.Handler {
	if len(c.rules) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rule, ok := c.rule(r)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Add("Vary", "Origin")
		r = r.WithContext(context.WithValue(r.Context(), corsKey{}, true))
		preflight := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
		switch origin := r.Header.Get("Origin"); {
		case origin == "":
		case slices.Contains(rule.Origins, "*"):
			h.Set("Access-Control-Allow-Origin", "*")
		case slices.Contains(rule.Origins, origin):
			h.Set("Access-Control-Allow-Origin", origin)
		}
		allowed := h.Get("Access-Control-Allow-Origin") != ""
		switch {
		case allowed && preflight:
			rule.preflight(h)
			w.WriteHeader(http.StatusNoContent)
			return
		case allowed:
			h.Set("Access-Control-Expose-Headers", list(rule.Expose, "WWW-Authenticate", "Retry-After"))
		}
		next.ServeHTTP(w, r)
	})
}

// rule returns the rule of the API that a request is for.
func (c *cors) rule(r *http.Request) (corsRule, bool) {
	s := c.catalog.Snapshot()
	if s == nil {
		return corsRule{}, false
	}
	if api := s.Match(r.URL.Path); api != nil {
		if rule, ok := c.rules[api.ID]; ok {
			return rule, true
		}
	}
	rule, ok := c.rules["*"]
	return rule, ok
}

func (c corsRule) preflight(h http.Header) {
	h.Add("Vary", "Access-Control-Request-Method")
	h.Add("Vary", "Access-Control-Request-Headers")
	methods, headers := c.Methods, c.Headers
	if len(methods) == 0 {
		methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
	}
	if len(headers) == 0 {
		headers = []string{"Authorization", "Content-Type", "Ocp-Apim-Subscription-Key"}
	}
	h.Set("Access-Control-Allow-Methods", list(methods))
	h.Set("Access-Control-Allow-Headers", list(headers))
	if c.MaxAge > 0 {
		h.Set("Access-Control-Max-Age", strconv.Itoa(int(time.Duration(c.MaxAge).Seconds())))
	}
}

func list(names []string, more ...string) string {
	return strings.Join(append(slices.Clone(names), more...), ", ")
}

// withoutCORS removes the API's own CORS headers where the gateway has a rule:
// two of them make a browser refuse the answer.
func withoutCORS(resp *http.Response) error {
	if resp.Request.Context().Value(corsKey{}) != nil {
		removeHeaders(resp.Header, func(name string) bool { return strings.HasPrefix(name, "access-control-") })
	}
	return nil
}
