package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// BenchmarkTokenHit is what a fresh token costs with each library, all CPUs
// asking at once.
func BenchmarkTokenHit(b *testing.B) {
	for _, l := range libraries {
		b.Run(strings.ReplaceAll(l.name, "/", "-"), func(b *testing.B) {
			e := newEndpoint()
			defer e.Close()
			e.fresh.Store(true)
			get, err := l.make(e, nil)
			require.NoError(b, err)
			require.NoError(b, get(context.Background()))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := get(context.Background()); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// What the table says of tokenclient is a promise, whatever the fault.
func TestOutage(t *testing.T) {
	for _, f := range faults {
		for _, warm := range []bool{false, true} {
			r, err := measure(libraries[0], f, warm, 0)
			require.NoError(t, err)
			assert.LessOrEqual(t, r.requests, int64(10), "%s, %s", f.name, held(warm)) // 1, unless the machine is busy for seconds
			assert.Zero(t, r.waiting)
			if warm {
				assert.Zero(t, r.failed, "%s", f.name)
			} else {
				assert.EqualValues(t, callers, r.failed)
			}
		}
	}
}

// Every library gets a token from the endpoint when it is well, so that the
// comparison is about the outage.
func TestLibrariesWork(t *testing.T) {
	t.Parallel()
	for _, l := range libraries {
		e := newEndpoint()
		get, err := l.make(e, time.Now)
		require.NoError(t, err)
		require.NoError(t, get(context.Background()), l.name)
		assert.EqualValues(t, 1, e.requests.Load(), l.name)
		e.Close()
	}
}
