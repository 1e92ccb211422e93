package tokenclient

import (
	"sync/atomic"
	"time"
)

// backJump is how far the wall clock may fall behind before this counts as a jump. Time
// synchronisation moves the clock by smaller steps all the time.
const backJump = time.Minute

// origin is the zero of monotonic readings. It is before the program's start, so that no
// reading is 0.
var origin = time.Now().Add(-time.Hour)

// instant is a moment on both clocks, in nanoseconds. The wall clock runs during suspend
// but can be set. The steady (monotonic) clock is never set but stops during suspend. If
// a time has no monotonic reading, both values come from the wall clock.
type instant struct{ wall, steady int64 }

func at(t time.Time) instant {
	return instant{wall: t.UnixNano(), steady: int64(t.Sub(origin))}
}

// since returns the time from start to i, by the clock that shows more. back reports
// whether the wall clock was set back in the meantime.
func (i instant) since(start instant) (elapsed time.Duration, back bool) {
	wall, steady := i.wall-start.wall, i.steady-start.steady
	return time.Duration(max(wall, steady)), wall < -int64(backJump)
}

// remaining returns how much of length is left since start. It returns 0 if nothing is
// left or the wall clock was set back.
func (i instant) remaining(start instant, length time.Duration) time.Duration {
	elapsed, back := i.since(start)
	if back {
		return 0
	}
	return max(0, length-elapsed)
}

// glanceLength is how long a check of both clocks is valid, on the monotonic clock.
const glanceLength = time.Millisecond

// glance stores when both clocks were last checked and the token was fresh. Within
// glanceLength only the monotonic clock is read, which takes half the time. If the wall
// clock jumps in that time, the caller gets the token that it would have got a
// millisecond before. The zero value stores no check.
type glance struct{ steady atomic.Int64 }

func (g *glance) recent() bool {
	return uint64(int64(time.Since(origin))-g.steady.Load()) < uint64(glanceLength)
}

func (g *glance) remember(now instant) { g.steady.Store(now.steady) }
