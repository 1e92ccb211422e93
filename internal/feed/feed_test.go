package feed_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/feed"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errClosed = errors.New("closed")

// source is a feed of a store with this newest revision.
func source(quit context.Context, bell *feed.Bell, newest *atomic.Int64) feed.Source {
	return feed.Source{
		Read: func(ctx context.Context, after appaccess.Revision) (batch []appaccess.Change, err error) {
			for r := after + 1; r <= appaccess.Revision(newest.Load()); r++ {
				batch = append(batch, appaccess.Change{Revision: r})
			}
			return batch, ctx.Err()
		},
		News: bell, Poll: time.Hour, Quit: quit, Closed: errClosed,
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		quit, stop := context.WithCancel(t.Context())
		defer stop()
		var bell feed.Bell
		start := time.Now()
		var newest atomic.Int64
		newest.Store(2)
		bell.Ring() // nobody waits
		var seen []appaccess.Revision
		for c, err := range source(quit, &bell, &newest).Changes(t.Context(), 0) {
			if err != nil {
				assert.ErrorIs(t, err, errClosed)
				break
			}
			seen = append(seen, c.Revision)
			switch c.Revision {
			case 2: // news that rings is read at once
				time.AfterFunc(time.Second, func() { newest.Store(3); bell.Ring() })
			case 3:
				assert.Equal(t, time.Second, time.Since(start))
				time.AfterFunc(time.Second, func() { newest.Store(4) }) // news that does not, in time
			case 4:
				assert.Equal(t, time.Second+time.Hour, time.Since(start))
				time.AfterFunc(time.Second, stop)
			}
		}
		assert.Equal(t, []appaccess.Revision{1, 2, 3, 4}, seen)
		assert.Equal(t, 2*time.Second+time.Hour, time.Since(start))
	})
}

func TestChangesEndWithTheirContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var bell feed.Bell
		var newest atomic.Int64
		n := 0
		for _, err := range source(t.Context(), &bell, &newest).Changes(ctx, 0) {
			n++
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		assert.Equal(t, 1, n)
	})
}
