package tokenclient

import (
	"sync/atomic"
	"time"
)

// backJump is how far the wall clock may fall behind before that counts as a
// jump: time synchronisation moves it by less all the time.
const backJump = time.Minute

// origin anchors monotonic readings. It lies before the program's start, so
// that no reading is 0.
var origin = time.Now().Add(-time.Hour)

// instant is one moment by both clocks, in nanoseconds. The wall clock goes on
// during suspend but may be set; the steady one never jumps but stands still
// during suspend. Where the time has no monotonic reading they agree.
type instant struct{ wall, steady int64 }

func at(t time.Time) instant {
	return instant{wall: t.UnixNano(), steady: int64(t.Sub(origin))}
}

// since is the time that has passed from start to i, by the clock that shows
// more; back tells that the wall clock has been set back in between.
func (i instant) since(start instant) (elapsed time.Duration, back bool) {
	wall, steady := i.wall-start.wall, i.steady-start.steady
	return time.Duration(max(wall, steady)), wall < -int64(backJump)
}

// remaining is what is left of length since start, and 0 once it is over or
// the wall clock was set back.
func (i instant) remaining(start instant, length time.Duration) time.Duration {
	elapsed, back := i.since(start)
	if back {
		return 0
	}
	return max(0, length-elapsed)
}

// glanceLength is how long, in running time, a look at both clocks holds.
const glanceLength = time.Millisecond

// glance remembers that a look at both clocks has just found nothing to do.
// Reading the monotonic clock alone takes half the time, and what a suspend or
// a jump in between can do is no more than if the caller had asked a moment
// earlier. Its zero value remembers nothing.
type glance struct{ steady atomic.Int64 }

func (g *glance) recent() bool {
	return uint64(int64(time.Since(origin))-g.steady.Load()) < uint64(glanceLength)
}

func (g *glance) remember(now instant) { g.steady.Store(now.steady) }
