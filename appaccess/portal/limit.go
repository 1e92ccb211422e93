package portal

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How often one user may have a value made that is shown once, and may call an
// API from the Try it box.
const (
	secretEvery = 20 * time.Second
	secretBurst = 6
	tryEvery    = 3 * time.Second
	tryBurst    = 12
)

// limitError refuses what came too often.
type limitError struct{}

func (*limitError) Error() string { return "portal: too many at once" }

// limiter limits each user by themselves, in this process.
type limiter struct {
	now   func() time.Time
	every time.Duration
	burst int
	mu    sync.Mutex
	users map[string]*rate.Limiter
}

func newLimiter(now func() time.Time, every time.Duration, burst int) *limiter {
	return &limiter{now: now, every: every, burst: burst, users: map[string]*rate.Limiter{}}
}

// allow counts one of a user.
func (l *limiter) allow(user string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if len(l.users) >= 1024 {
		for name, one := range l.users { // full again: as good as never seen
			if one.TokensAt(now) >= float64(l.burst) {
				delete(l.users, name)
			}
		}
	}
	one := l.users[user]
	if one == nil {
		one = rate.NewLimiter(rate.Every(l.every), l.burst)
		l.users[user] = one
	}
	if !one.AllowN(now, 1) {
		return &limitError{}
	}
	return nil
}
