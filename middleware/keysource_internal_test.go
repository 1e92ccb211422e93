package middleware

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What another caller's fetch brought between a caller's look and its question
// is there for it: it is neither refused nor fetched twice.
func TestAFetchThatEndsMeanwhile(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for name, ask := range map[string]func(*keySource) error{
		"ready": func(s *keySource) error { return s.ready(t.Context()) },
		"find":  func(s *keySource) error { _, _, err := s.find(t.Context(), "new"); return err },
	} {
		var fetches atomic.Int32
		var ahead atomic.Int64
		var meanwhile atomic.Pointer[func()] // the next who asks for the time does it first
		s := newKeySource("https://login.test/keys", &Config{
			KeyInterval: time.Nanosecond, KeyWait: time.Minute,
			Now: func() time.Time {
				now := time.Now().Add(time.Duration(ahead.Load()))
				if f := meanwhile.Swap(nil); f != nil {
					(*f)()
				}
				return now
			},
			HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
				kid := []string{"old", "new"}[fetches.Add(1)-1]
				return answering(fmt.Sprintf(`{"keys":[{"kty":"RSA","kid":%q,"e":"AQAB","n":%q}]}`, kid, base64.RawURLEncoding.EncodeToString(key.N.Bytes()))).RoundTrip(r)
			})},
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.run(ctx) }()
		require.NoError(t, s.ready(ctx), name)
		if name == "ready" {
			ahead.Store(int64(25 * time.Hour)) // too old
		}
		another := func() { assert.NoError(t, ask(s), "the other: "+name) }
		meanwhile.Store(&another)
		assert.NoError(t, ask(s), name)
		assert.EqualValues(t, 2, fetches.Load(), name)
		stop()
		<-ended
	}
}
