package tokenclient_test

import (
	"context"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// BenchmarkTokenHit is what a fresh token costs, next to x/oauth2's
// ReuseTokenSource over a token of the same age.
func BenchmarkTokenHit(b *testing.B) {
	s := newClient(b, newEndpoint(b, nil), nil, nil).Source(scope)
	mustToken(b, s)
	ctx := context.Background()
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Token(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Token(ctx); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
	b.Run("reuse-parallel", func(b *testing.B) {
		reuse := oauth2.ReuseTokenSource(&oauth2.Token{AccessToken: "t", Expiry: time.Now().Add(time.Hour)}, nil)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := reuse.Token(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}
