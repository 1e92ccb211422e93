package postgres_test

import (
	"testing"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/growth"
	"github.com/entragate/entragate/internal/pgtest"
)

func BenchmarkGrowth(b *testing.B) {
	growth.Bench(b, func() appaccess.Store { return open(b, pgtest.Schema(b)) })
}

func BenchmarkWrites(b *testing.B) { growth.Writes(b, open(b, pgtest.Schema(b))) }
