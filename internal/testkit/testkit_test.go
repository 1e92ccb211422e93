package testkit_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/entragate/entragate/internal/testkit"
)

func TestSleepMovesTheClockUnlessTheContextHasEnded(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := testkit.NewClock(start)
	assert.NoError(t, clock.Sleep(t.Context(), time.Hour))
	assert.Equal(t, start.Add(time.Hour), clock.Now())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, clock.Sleep(ended, time.Hour), context.Canceled)
	assert.Equal(t, start.Add(time.Hour), clock.Now())
}
