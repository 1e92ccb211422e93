package main

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/entragate/entragate/middleware/gatetest"
)

// The gateway refuses every attack of the catalogue, over a connection, and its
// API receives none of the headers that a caller forged.
func TestAttacksOnTheGateway(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	var mu sync.Mutex
	var last http.Header
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		mu.Lock()
		defer mu.Unlock()
		last = r.Header.Clone()
	}))
	t.Cleanup(backend.Close)
	s := openTokenShop(t, backend.URL, func(o *options) { o.Gate.KeyInterval = time.Nanosecond })
	address := listen(t, newServer(s.gateway))
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	target := gatetest.Target{
		Tenant: s.tenant.Tenant, Claims: s.claims, Path: "/orders/x", Key: s.key,
		Send: func(r *http.Request) (*http.Response, error) {
			r.URL.Scheme, r.URL.Host, r.RequestURI = "http", address, ""
			return client.Do(r)
		},
		Reached: func() int { return int(reached.Load()) },
		Received: func() http.Header {
			mu.Lock()
			defer mu.Unlock()
			return last
		},
		CallerHeaders: []string{productHeader, clientHeader, subscriptionHeader, ownerHeader},
	}
	for _, a := range gatetest.Attacks(target) {
		assert.NoError(t, a.Run(target), a.Name)
	}
}
