package tokenclient_test

import (
	"context"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/tokenclient"
)

func TestTokenIsFetchedOnceAndKept(t *testing.T) {
	t.Parallel()
	e, clk := newEndpoint(t, nil), newClock()
	s := newClient(t, e, clk, nil).Source(scope)
	first, err := s.Token(patient(t))
	require.NoError(t, err)
	assert.Equal(t, "token-1", first.Reveal())
	assert.Equal(t, "Bearer token-1", first.Authorization())
	assert.Equal(t, scope, first.Scope())
	assert.Equal(t, clk.Now(), first.Obtained())
	assert.Equal(t, clk.Now().Add(time.Hour), first.Expires())
	again, err := s.Token(patient(t))
	require.NoError(t, err)
	assert.Same(t, first, again)
	assert.Equal(t, 1, e.count())

	form := e.form(1)
	assert.Equal(t, "client_credentials", form.Get("grant_type"))
	assert.Equal(t, clientID, form.Get("client_id"))
	assert.Equal(t, password, form.Get("client_secret"))
	assert.Equal(t, scope, form.Get("scope"))
	assert.Empty(t, e.header(1).Get("Authorization"))
	assert.NotEmpty(t, e.header(1).Get("Client-Request-Id"))
}

// A hit needs neither lock nor allocation, and no context.
func TestHitAllocatesNothing(t *testing.T) {
	e := newEndpoint(t, nil)
	s := newClient(t, e, nil, nil).Source(scope)
	mustToken(t, s)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	least := math.Inf(1) // AllocsPerRun counts allocations of the whole process
	for range 10 {
		least = min(least, testing.AllocsPerRun(1000, func() {
			if _, err := s.Token(ended); err != nil {
				panic(err)
			}
		}))
	}
	assert.Zero(t, least)
}

func TestRefreshInTheBackground(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer       map[string]any
		fresh, stale time.Duration // ages at which no and at which a refresh is due
	}{
		"refresh_in":            {map[string]any{"expires_in": 86400, "refresh_in": 43200}, 43199 * time.Second, 43200*time.Second + 86400*time.Second/20},
		"part of the life":      {map[string]any{"expires_in": 3600}, 2159 * time.Second, 2700 * time.Second},
		"numbers as strings":    {map[string]any{"expires_in": "3600", "refresh_in": "1800"}, 1799 * time.Second, 1980 * time.Second},
		"no expires_in":         {map[string]any{}, 179 * time.Second, 225 * time.Second},
		"expires_in null":       {map[string]any{"expires_in": nil}, 179 * time.Second, 225 * time.Second},
		"refresh_in useless":    {map[string]any{"expires_in": 3600, "refresh_in": 3600}, 2159 * time.Second, 2700 * time.Second},
		"refresh_in 0":          {map[string]any{"expires_in": 3600, "refresh_in": 0}, 2159 * time.Second, 2700 * time.Second},
		"longer than any token": {map[string]any{"expires_in": 1e15}, 16 * time.Hour, 21 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
				body := map[string]any{"token_type": "bearer", "access_token": tokenName(n)}
				for k, v := range tt.answer {
					body[k] = v
				}
				reply(w, http.StatusOK, body)
			})
			clk := newClock()
			s := newClient(t, e, clk, nil).Source(scope)
			assert.Equal(t, "token-1", mustToken(t, s))
			clk.advance(tt.fresh)
			assert.Equal(t, "token-1", mustToken(t, s))
			assert.Equal(t, 1, e.count(), "too early")
			clk.advance(tt.stale - tt.fresh)
			assert.Equal(t, "token-1", mustToken(t, s), "the old token serves")
			eventually(t, "refresh", func() bool { return mustToken(t, s) == "token-2" })
			assert.Equal(t, 2, e.count())
		})
	}
}

func TestExpiredTokenIsNotServed(t *testing.T) {
	t.Parallel()
	e, clk := newEndpoint(t, nil), newClock()
	s := newClient(t, e, clk, nil).Source(scope)
	assert.Equal(t, "token-1", mustToken(t, s))
	clk.advance(time.Hour)
	assert.Equal(t, "token-2", mustToken(t, s))
	clk.advance(time.Hour - 9*time.Second)
	assert.Equal(t, "token-3", mustToken(t, s), "in its last seconds a token is replaced first")
}

// A clock that was given is asked each time: no look at it is remembered.
func TestGivenClockIsAskedEachTime(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, nil)
	for range 20 {
		clk := &clock{now: time.Now()}
		s := newClient(t, e, clk, nil).Source(scope)
		first := mustToken(t, s)
		require.Equal(t, first, mustToken(t, s))
		clk.advance(time.Hour)
		require.NotEqual(t, first, mustToken(t, s))
	}
}

// A token that is over before it arrives is handed to those who waited for it:
// asking on and on would not make a better one.
func TestTokenThatIsOverAtOnce(t *testing.T) {
	t.Parallel()
	clk := newClock()
	e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		clk.advance(2 * time.Second)
		grantToken(w, n, 1)
	})
	s := newClient(t, e, clk, nil).Source(scope)
	assert.Equal(t, "token-1", mustToken(t, s))
	assert.Equal(t, "token-2", mustToken(t, s))
	assert.Equal(t, 2, e.count())
}

// Many callers cause one fetch, and the cancellation of any of them, the first
// included, ends its own waiting only.
func TestOneFetchForAll(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		<-release
		grantToken(w, n, 3600)
	})
	s := newClient(t, e, nil, nil).Source(scope)
	ctx, cancel := context.WithCancel(context.Background())
	cancelled := make(chan error)
	go func() { _, err := s.Token(ctx); cancelled <- err }()
	eventually(t, "first request", func() bool { return e.count() == 1 })

	var others sync.WaitGroup
	for range 50 {
		others.Go(func() { assert.Equal(t, "token-1", mustToken(t, s)) })
	}
	cancel()
	err := <-cancelled
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorAs(t, err, new(*tokenclient.Error))
	close(release)
	others.Wait()
	assert.Equal(t, 1, e.count())
}

func TestCancelledCallerStartsNothing(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	e := newEndpoint(t, func(int, http.ResponseWriter, *http.Request) { <-hang })
	defer close(hang)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s := newClient(t, e, nil, nil).Source(scope)
	_, err := s.Token(ctx)
	require.ErrorIs(t, err, context.Canceled)
	assert.True(t, s.Idle())
	assert.Zero(t, e.count())
}

func TestScopesShareOneClientAndAreBounded(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, nil)
	c := newClient(t, e, nil, func(cfg *tokenclient.Config) { cfg.MaxScopes = 2 })
	a, b := c.Source("api://a/.default"), c.Source("api://b/.default")
	assert.Same(t, a, c.Source("api://a/.default"))
	assert.NotEqual(t, mustToken(t, a), mustToken(t, b))
	err := mustFail(t, c.Source("api://c/.default"))
	require.ErrorIs(t, err, tokenclient.ErrScope)
	assert.ErrorContains(t, err, "MaxScopes")
	assert.ErrorContains(t, mustFail(t, c.Source("api://c")), "/.default", "an invalid scope is reported first")
	assert.Equal(t, 2, e.count())
}

func TestScopeIsChecked(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, nil)
	entra := newClient(t, e, nil, nil)
	for _, bad := range []string{"", "api://x", "api://x/.default api://y/.default", "api://x\n/.default", "api://é/.default"} {
		require.ErrorIs(t, mustFail(t, entra.Source(bad)), tokenclient.ErrScope, bad)
	}
	other := newClient(t, e, nil, func(cfg *tokenclient.Config) {
		cfg.TenantID, cfg.Authority, cfg.TokenURL = "", "", e.URL+"/token"
	})
	for _, bad := range []string{"a  b", " a", `a"b`, `a\b`} {
		require.ErrorIs(t, mustFail(t, other.Source(bad)), tokenclient.ErrScope, bad)
	}
	assert.Zero(t, e.count())
	mustToken(t, other.Source("read write"))
	assert.Equal(t, "read write", e.form(1).Get("scope"))
	mustToken(t, other.Source(""))
	assert.NotContains(t, e.form(2), "scope")
}

func TestClose(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	e := newEndpoint(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n > 1 {
			<-hang
		}
		grantToken(w, n, 3600)
	})
	defer close(hang)
	var asked atomic.Int32
	c := newClient(t, e, nil, func(cfg *tokenclient.Config) {
		cfg.Credential = tokenclient.SecretFunc(func(context.Context) (string, error) {
			asked.Add(1)
			return password, nil
		})
	})
	kept := c.Source(scope)
	mustToken(t, kept)
	waiting := make(chan error)
	go func() { _, err := c.Source("api://other/.default").Token(context.Background()); waiting <- err }()
	eventually(t, "second request", func() bool { return e.count() == 2 })
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-waiting, tokenclient.ErrClosed)
	assert.Equal(t, "token-1", mustToken(t, kept), "what is fresh still serves")
	require.ErrorIs(t, mustFail(t, c.Source("api://third/.default")), tokenclient.ErrClosed)
	assert.EqualValues(t, 2, asked.Load(), "nothing begins after Close")
	require.NoError(t, c.Close())
}
