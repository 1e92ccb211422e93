package provision

import (
	"context"

	"github.com/entragate/entragate/appaccess"
)

// maxWrites is how many write transactions the Reconciler has at once or waits for.
// Write transactions take turns, and a suspension must not wait behind one for each
// object that is worked on.
const maxWrites = 4

// fewWrites is a Store that bounds its write transactions.
type fewWrites struct {
	appaccess.Store
	slots chan struct{}
}

func (s *fewWrites) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-s.slots }()
	return s.Store.Update(ctx, fn)
}
