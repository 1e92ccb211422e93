package portal

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// discovery asks Entra for its endpoints: one request at a time, however many wait,
// and after a failure not before a pause. Visitors who are not signed in can so
// not make the portal send requests to Entra.
type discovery struct {
	mu       sync.Mutex // held during the request: others wait for its outcome
	provider *oidc.Provider
	err      error
	retry    time.Time // not before
	pause    time.Duration
}

const (
	firstPause = time.Second
	maxPause   = time.Minute
)

// discover is the provider, asked for until it has answered once.
func (s *signIn) discover() (*oidc.Provider, error) {
	d := &s.discovery
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.provider != nil {
		return d.provider, nil
	}
	if d.err != nil && s.portal.now().Before(d.retry) {
		return nil, d.err
	}
	// The provider keeps this context for fetching keys later on, so it must
	// not be one request's; the client's timeout bounds each call.
	found, err := oidc.NewProvider(s.context(context.Background()), s.issuer)
	if err != nil {
		d.pause = min(max(2*d.pause, firstPause), maxPause)
		d.retry = s.portal.now().Add(d.pause)
		d.err = fmt.Errorf("portal: sign-in: reaching Entra: %w", err)
		return nil, d.err
	}
	d.provider, d.err = found, nil
	return found, nil
}
