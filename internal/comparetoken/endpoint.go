package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"

	"golang.org/x/oauth2"
)

// endpoint is a token endpoint over TLS, with the discovery document that MSAL
// needs. A test can make it fail.
type endpoint struct {
	*httptest.Server
	requests atomic.Int64 // to the token endpoint
	fault    atomic.Pointer[fault]
	fresh    atomic.Bool   // tokens have no refresh_in
	over     chan struct{} // closed when hanging requests may go
}

// fault is how the token endpoint fails.
type fault struct {
	name   string
	answer func(e *endpoint, w http.ResponseWriter, r *http.Request)
}

var faults = []*fault{
	{"hangs", func(e *endpoint, _ http.ResponseWriter, r *http.Request) {
		select {
		case <-e.over:
		case <-r.Context().Done():
		}
	}},
	{"answers 503", func(_ *endpoint, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}},
	{"answers 429, Retry-After: 30", func(_ *endpoint, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusTooManyRequests)
	}},
}

func newEndpoint() *endpoint {
	e := &endpoint{over: make(chan struct{})}
	e.Server = httptest.NewUnstartedServer(e)
	e.Config.ErrorLog = log.New(io.Discard, "", 0)
	e.StartTLS()
	return e
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
		base := e.URL + "/" + tenant
		fmt.Fprintf(w, `{"issuer":"%s/v2.0","authorization_endpoint":"%s/a","token_endpoint":"%s/oauth2/v2.0/token"}`, base, base, base)
		return
	}
	e.requests.Add(1)
	if f := e.fault.Load(); f != nil {
		f.answer(e, w, r)
		return
	}
	refresh := `,"refresh_in":1`
	if e.fresh.Load() {
		refresh = ""
	}
	fmt.Fprintf(w, `{"token_type":"Bearer","access_token":"t","expires_in":3600%s}`, refresh)
}

// withClient is the context that carries the HTTP client of x/oauth2.
func withClient(c *http.Client) context.Context {
	return context.WithValue(context.Background(), oauth2.HTTPClient, c)
}
