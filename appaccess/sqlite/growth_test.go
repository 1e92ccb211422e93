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
	growth.Flood(b, s, growth.Subscriptions(b, s))
}

// BenchmarkReplica measures a replica on many subscriptions.
func BenchmarkReplica(b *testing.B) {
	path := filepath.Join(memory(b), "store.db")
	growth.Replica(b, path, growth.Subscriptions(b, open(b, path)))
}

func BenchmarkWrites(b *testing.B) {
	growth.Writes(b, open(b, filepath.Join(b.TempDir(), "store.db"))) // on a disk: each commit waits for it
}
