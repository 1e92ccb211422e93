package directorytest

import (
	"context"
	"errors"
	"time"

	"github.com/entragate/entragate/provision"
)

// errNotYet says that a read does not show a write yet.
var errNotYet = errors.New("not shown yet")

// statusOf returns the HTTP status of a [provision.APIError]; 0 for any other error.
func statusOf(err error) int {
	var api *provision.APIError
	if errors.As(err, &api) {
		return api.Status
	}
	return 0
}

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}
