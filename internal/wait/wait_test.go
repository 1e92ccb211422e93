package wait_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entragate/entragate/internal/wait"
	"github.com/stretchr/testify/assert"
)

func TestFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		assert.NoError(t, wait.For(t.Context(), time.Minute))
		assert.Equal(t, time.Minute, time.Since(start))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		assert.ErrorIs(t, wait.For(ctx, time.Hour), context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
	})
}

func TestForEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		event := make(chan struct{})
		time.AfterFunc(time.Second, func() { close(event) })
		start := time.Now()
		assert.NoError(t, wait.ForEvent(t.Context(), event, time.Hour))
		assert.Equal(t, time.Second, time.Since(start))
		assert.NoError(t, wait.ForEvent(t.Context(), make(chan struct{}), time.Minute))
		assert.Equal(t, time.Second+time.Minute, time.Since(start))
	})
}

func TestBell(t *testing.T) {
	t.Parallel()
	var bell wait.Bell
	bell.Ring() // nobody waits
	first, second := bell.Next(), bell.Next()
	select {
	case <-first:
		t.Fatal("it rang before")
	default:
	}
	bell.Ring()
	<-first
	<-second
	select {
	case <-bell.Next():
		t.Fatal("it rings once")
	default:
	}
}
