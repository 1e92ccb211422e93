package tokenclient

import "time"

// backJump is how far the wall clock may fall behind before that counts as a
// jump: time synchronisation moves it by less all the time.
const backJump = time.Minute

// origin anchors monotonic readings.
var origin = time.Now()

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
