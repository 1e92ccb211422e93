package tokenclient

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// twoClocks is a machine's wall clock and monotonic clock. time.Time cannot
// carry readings that disagree, so this test sits inside the package.
type twoClocks struct{ wall, steady atomic.Int64 }

func (c *twoClocks) now() instant { return instant{c.wall.Load(), c.steady.Load()} }

// pass is time that both clocks see.
func (c *twoClocks) pass(d time.Duration) { c.wall.Add(int64(d)); c.steady.Add(int64(d)) }

// jump is suspend, or a wall clock that is set.
func (c *twoClocks) jump(d time.Duration) { c.wall.Add(int64(d)) }

func TestClockJumps(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		move func(*twoClocks)
		want stage
	}{
		"nothing":                      {func(*twoClocks) {}, fresh},
		"half an hour":                 {func(c *twoClocks) { c.pass(30 * time.Minute) }, fresh},
		"due":                          {func(c *twoClocks) { c.pass(46 * time.Minute) }, stale},
		"suspend until due":            {func(c *twoClocks) { c.jump(46 * time.Minute) }, stale},
		"suspend past the end":         {func(c *twoClocks) { c.jump(2 * time.Hour) }, dead},
		"time and suspend":             {func(c *twoClocks) { c.pass(30 * time.Minute); c.jump(31 * time.Minute) }, dead},
		"set forward":                  {func(c *twoClocks) { c.jump(24 * time.Hour) }, dead},
		"set back a little":            {func(c *twoClocks) { c.jump(-30 * time.Second) }, fresh},
		"set back":                     {func(c *twoClocks) { c.jump(-time.Hour) }, stale},
		"set back, then due":           {func(c *twoClocks) { c.jump(-30 * time.Second); c.pass(46 * time.Minute) }, stale},
		"set back, then past its end":  {func(c *twoClocks) { c.jump(-24 * time.Hour); c.pass(61 * time.Minute) }, dead},
		"set back years at its middle": {func(c *twoClocks) { c.pass(30 * time.Minute); c.jump(-9e4 * time.Hour) }, stale},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &twoClocks{}
			c.pass(1e6 * time.Hour)
			n := &snapshot{from: c.now(), life: time.Hour, refresh: 45 * time.Minute}
			tt.move(c)
			assert.Equal(t, tt.want, n.stage(c.now()))
			assert.Equal(t, tt.want == fresh, n.fresh(c.now()))
		})
	}
}

// A jump in either direction causes one fetch, not many, and no pause outlives
// its length because of one.
func TestClockJumpsCostOneFetch(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	var down atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		if down.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"t","token_type":"Bearer","expires_in":3600}`))
	}))
	defer srv.Close()
	c, err := New(Config{TokenURL: srv.URL, ClientID: "id", Credential: Secret("s")})
	require.NoError(t, err)
	defer c.Close()
	clk := &twoClocks{}
	clk.pass(1e6 * time.Hour)
	c.clock, c.realTime = clk.now, false
	s := c.Source("x")
	settled := func(n int32) func() bool {
		return func() bool {
			_, err := s.Token(context.Background())
			return err == nil && requests.Load() == n && s.flight.Load() == nil
		}
	}
	require.Eventually(t, settled(1), 20*time.Second, time.Millisecond)
	clk.jump(-3 * time.Hour)
	require.Eventually(t, settled(2), 20*time.Second, time.Millisecond)
	clk.jump(3 * time.Hour)
	require.Eventually(t, settled(3), 20*time.Second, time.Millisecond)
	for range 100 {
		assert.True(t, settled(3)())
	}

	down.Store(true)
	clk.pass(2 * time.Hour)
	_, err = s.Token(context.Background())
	require.Error(t, err)
	assert.True(t, c.pause.Load().holds(clk.now()))
	clk.jump(-24 * time.Hour)
	assert.False(t, c.pause.Load().holds(clk.now()), "set back: the pause is over")
}

// A time without a monotonic reading, as tests and replays give, is enough.
func TestInstantWithoutMonotonicReading(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	elapsed, back := at(start.Add(time.Hour)).since(at(start))
	assert.Equal(t, time.Hour, elapsed)
	assert.False(t, back)
	elapsed, back = at(start.Add(-time.Hour)).since(at(start))
	assert.Negative(t, elapsed)
	assert.True(t, back)
}

// The pause doubles, spreads over a half, and never undercuts Retry-After.
func TestPauseLength(t *testing.T) {
	t.Parallel()
	for failures := 1; failures < 100; failures++ {
		full := longPause
		if failures < 7 {
			full = firstPause << (failures - 1)
		}
		lower, asks := 0, map[time.Duration]bool{}
		for range 50 {
			d := pauseLength(failures, 0)
			if d < full*3/4 {
				lower++
			}
			assert.GreaterOrEqual(t, d, full/2)
			assert.LessOrEqual(t, d, full)
			asked := pauseLength(failures, 90*time.Second)
			assert.GreaterOrEqual(t, asked, 90*time.Second)
			assert.LessOrEqual(t, asked, 99*time.Second)
			asks[asked] = true
		}
		assert.Positive(t, lower, "clients spread")
		assert.Less(t, lower, 50, "clients spread")
		assert.Greater(t, len(asks), 1, "clients spread")
	}
}

// Flights of several scopes that fail together are one trouble, a probe that
// fails is another, and no pause keeps a probe that has ended.
func TestPausesOfSeveralFlights(t *testing.T) {
	t.Parallel()
	now := at(time.Now())
	trouble := &Error{Retryable: true}
	a, b, probe := &flight{}, &flight{}, &flight{}
	var p *pause
	p = p.after(a, trouble, now)
	assert.Equal(t, 1, p.failures)
	p = p.after(b, &Error{Retryable: true, RetryAfter: 50 * time.Second}, now)
	assert.Equal(t, 1, p.failures, "met at the same time")
	assert.GreaterOrEqual(t, p.length, 50*time.Second, "the later end holds")
	p = p.after(b, trouble, now)
	assert.GreaterOrEqual(t, p.length, 50*time.Second)

	p = p.probedBy(probe)
	later := p.after(a, &Error{Retryable: true, RetryAfter: time.Hour}, now) // a latecomer
	assert.Same(t, probe, later.probe)
	assert.Same(t, later, later.lifted(a), "not a's to lift")
	assert.Nil(t, later.lifted(probe))
	after := later.after(probe, trouble, now)
	assert.Nil(t, after.probe)
	assert.Equal(t, 2, after.failures)
}

// A look at both clocks holds for a moment of running time and no longer.
func TestGlance(t *testing.T) {
	t.Parallel()
	var g glance
	assert.False(t, g.recent(), "nothing remembered")
	now := at(time.Now())
	g.remember(instant{steady: now.steady + int64(time.Hour)})
	assert.False(t, g.recent(), "in the future")
	g.remember(instant{steady: now.steady - int64(glanceLength)})
	assert.False(t, g.recent(), "over")
	require.Eventually(t, func() bool { // unless this goroutine was stopped in between
		g.remember(at(time.Now()))
		return g.recent()
	}, 20*time.Second, time.Millisecond)
}
