package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/growth"
)

func BenchmarkGrowth(b *testing.B) {
	growth.Bench(b, func() appaccess.Store { return open(b, filepath.Join(memory(b), "store.db")) })
}

func BenchmarkFlood(b *testing.B) {
	s := open(b, filepath.Join(memory(b), "store.db"))
	n, key := growth.Subscriptions(b, s)
	growth.Flood(b, s, n, key)
}
