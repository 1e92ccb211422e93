package provision_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision/entratest"
)

// waiting counts the write transactions that run or wait at the same time.
type waiting struct {
	appaccess.Store
	now, most atomic.Int64
}

func (s *waiting) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	now := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); now > most && !s.most.CompareAndSwap(most, now); most = s.most.Load() {
	}
	for range 100 { // lets the others come
		runtime.Gosched()
	}
	return s.Store.Update(ctx, fn)
}

// However many objects are worked on, other writers wait for few transactions.
func TestFewWritesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	cfg := w.config()
	store := &waiting{Store: cfg.Store}
	cfg.Store, cfg.Concurrency = store, 32
	e := w.engineOf(cfg)
	assert.Same(t, store, e.Store(), "a Service requires its own store")
	var want memstore.Desired
	want.Products = append(want.Products, wantProduct("p"))
	for i := range 64 {
		want.Applications = append(want.Applications, wantClient(fmt.Sprint("c", i), "p"))
	}
	applied, err := e.Apply(t.Context(), want, nil)
	require.NoError(t, err)
	require.Empty(t, applied.Failed)
	assert.LessOrEqual(t, store.most.Load(), int64(4))
	assert.Positive(t, store.most.Load())
}
