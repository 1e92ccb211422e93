package middleware_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/entragate/entragate/appaccess"
)

// countingCatalog notes what it is asked to count.
type countingCatalog struct {
	*catalog
	mu    sync.Mutex
	calls []appaccess.Call
}

func (c *countingCatalog) CountCall(call appaccess.Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, call)
}

// Of a call that passed, the operation is counted, and an answer of 500 or more,
// or none at all, as an error of the API.
func TestOperationsAndErrorsAreCounted(t *testing.T) {
	t.Parallel()
	c := &countingCatalog{catalog: newCatalog()}
	cfg := managed(newEntra(), c.catalog)
	cfg.Catalog = c
	answers := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo/broken":
			w.WriteHeader(http.StatusBadGateway)
		case "/echo/panics":
			panic(http.ErrAbortHandler)
		case "/echo/missing":
			w.WriteHeader(http.StatusNotFound)
		}
	})
	h := open(t, cfg).Wrap(answers)
	token := mint(t, claims(nil))
	for path, failed := range map[string]bool{"/echo": false, "/echo/broken": true, "/echo/panics": true, "/echo/missing": false} {
		func() {
			defer func() { _ = recover() }()
			get(h, path, "Authorization", "Bearer "+token)
		}()
		assert.Equal(t, failed, c.calls[len(c.calls)-1].Error, path)
		assert.Empty(t, c.calls[len(c.calls)-1].Reason, path)
	}
	assert.Len(t, c.calls, 4)
}

// A gate has every decision counted: who called which API, and why it was
// refused. An unknown caller has no name.
func TestEveryDecisionIsCounted(t *testing.T) {
	t.Parallel()
	c := &countingCatalog{catalog: newCatalog()}
	cfg := managed(newEntra(), c.catalog)
	cfg.Catalog = c
	h := open(t, cfg).Wrap(echo)
	token := mint(t, claims(nil))
	assert.Equal(t, 200, call(h, token).Code)
	assert.Equal(t, 200, get(h, "/echo", keyHeader, "key-starter").Code)
	assert.Equal(t, 401, get(h, "/echo", keyHeader, "wrong").Code)
	assert.Equal(t, 403, call(h, mint(t, claims(object{"roles": nil}))).Code)
	c.set(func(k *catalog) { k.err = errors.Join(appaccess.ErrUnavailable) })
	assert.Equal(t, 503, call(h, mint(t, claims(nil))).Code)
	type counted struct {
		client, subscription, api string
		refused, failed           bool
	}
	var got []counted
	for _, call := range c.calls {
		assert.False(t, call.Time.IsZero())
		got = append(got, counted{call.ClientID, call.SubscriptionID, call.API, call.Reason != "", call.Failed})
	}
	assert.Equal(t, []counted{
		{clientID, "", "echo", false, false},
		{"", "s1", "echo", false, false},
		{"", "", "echo", true, false},
		{clientID, "", "echo", true, false},
		{clientID, "", "echo", true, true},
	}, got)
}
