// Package wait is how this module waits in real time: never for longer than a
// context. Packages that take a Sleep of their own in a Config use [For] where
// none is given.
package wait

import (
	"context"
	"time"
)

// For waits for d. It returns the context's error if that ends first.
func For(ctx context.Context, d time.Duration) error { return ForEvent(ctx, nil, d) }

// ForEvent waits until event is closed or sends, at most for d. It returns the
// context's error if that ends first.
func ForEvent(ctx context.Context, event <-chan struct{}, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-event:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
