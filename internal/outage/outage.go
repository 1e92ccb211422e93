// Package outage tests what a gate answers before, in and after an outage of its
// store, whatever the cause.
package outage

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/testkit"
)

// patience bounds what is awaited. It is never waited out where a store works.
const patience = time.Minute

var boss = appaccess.Manager("")

// Run tests a catalog on the store gate through one outage of that store: begin makes
// the store unreachable, end undoes that. writer is another store on the same
// database, which is used before and after.
//
// No revoked key passes at any time. Keys that were read before go on passing. Other
// keys are answered with ErrUnavailable during the outage, never as unknown. The log
// names the cause once, in at most one line more than the outage itself. The catalog is
// current again without help.
func Run(t *testing.T, writer, gate appaccess.Store, cause string, begin, end func()) {
	t.Helper()
	service, err := appaccess.NewService(t.Context(), appaccess.ServiceConfig{Store: writer})
	require.NoError(t, err)
	key := func(id string) [32]byte {
		made, err := service.CreateSubscription(t.Context(), boss, appaccess.SubscriptionRequest{ID: id, Name: id, Scope: appaccess.AllAPIs})
		require.NoError(t, err)
		return appaccess.HashKey(made.Primary.Reveal())
	}
	suspend := func(id string) {
		_, err := service.SetSubscriptionState(t.Context(), boss, id, appaccess.SubscriptionSuspended)
		require.NoError(t, err)
	}
	known, revoked, unread := key("known"), key("revoked"), key("unread")
	suspend("revoked")

	log := &testkit.Log{}
	logged := func(part string) int { return strings.Count(log.String(), part) }
	catalog, err := appaccess.NewCatalog(t.Context(), appaccess.CatalogConfig{
		Store: gate, UsageInterval: -1, Logger: log.Logger(slog.LevelInfo),
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, catalog.Close()) })
	answer := func(key [32]byte) (appaccess.DenyReason, error) {
		st, err := catalog.Key(t.Context(), key)
		return st.DenyReason, err
	}
	answers := func(expected appaccess.DenyReason, key [32]byte) {
		t.Helper()
		reason, err := answer(key)
		require.NoError(t, err)
		require.Equal(t, expected, reason)
	}
	answers(appaccess.NotDenied, known)
	answers(appaccess.SubscriptionNotActive, revoked)

	begin()
	require.Eventually(t, func() bool { return catalog.Staleness() > 3*time.Second }, patience, 10*time.Millisecond, "the outage is noticed")
	answers(appaccess.NotDenied, known)
	answers(appaccess.SubscriptionNotActive, revoked)
	for _, key := range [][32]byte{unread, appaccess.HashKey("invented")} {
		_, err := answer(key)
		require.ErrorIs(t, err, appaccess.ErrUnavailable)
	}
	require.Eventually(t, func() bool { return logged("the store is unreachable") == 1 && logged(cause) == 1 }, patience, 10*time.Millisecond, "the log says so")
	t.Log(log.String())

	end()
	began := time.Now()
	require.Eventually(t, func() bool {
		reason, err := answer(unread)
		require.True(t, err != nil || reason == appaccess.NotDenied, reason)
		return err == nil
	}, patience, 10*time.Millisecond)
	t.Log("an unread key passes after", time.Since(began))
	suspend("known")
	require.Eventually(t, func() bool {
		reason, err := answer(known)
		return err == nil && reason == appaccess.SubscriptionNotActive
	}, patience, 10*time.Millisecond)
	t.Log("a revocation is obeyed after", time.Since(began))
	answers(appaccess.UnknownKey, appaccess.HashKey("invented"))
	assert.Equal(t, 1, logged(cause), "the cause is logged once: %s", log)
	assert.LessOrEqual(t, logged("level=WARN"), 2, "one outage is logged once: %s", log)
}
