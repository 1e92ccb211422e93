package appaccess_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// Keys as API Management makes them.
const (
	oldPrimary   = "5f1c3a9e0b7d4e2c8a6f1d3b5c7e9a0f"
	oldSecondary = "a0b1c2d3e4f5061728394a5b6c7d8e9f"
)

// Whoever moves here keeps their keys: no caller has to change.
func TestBroughtKeys(t *testing.T) {
	t.Parallel()
	h := newFixtureOn(t, onSQLite(t))
	catalog, err := appaccess.NewCatalog(ctx, appaccess.CatalogConfig{Store: h.store})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, catalog.Close()) })
	made, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{
		ID: "both", Name: "Both", Scope: appaccess.AllAPIs, PrimaryHash: appaccess.HashKey(oldPrimary), SecondaryHash: appaccess.HashKey(oldSecondary),
	})
	require.NoError(t, err)
	assert.True(t, made.Primary.IsZero())
	assert.True(t, made.Secondary.IsZero())
	for key, primary := range map[string]bool{oldPrimary: true, oldSecondary: false} {
		assert.Eventually(t, func() bool {
			st, err := catalog.Key(ctx, appaccess.HashKey(key))
			return err == nil && st.DenyReason == appaccess.NotDenied && st.SubscriptionID == "both" && st.Primary == primary
		}, 20*time.Second, 10*time.Millisecond)
	}

	made, err = h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{
		ID: "one", Name: "One", Scope: appaccess.AllAPIs, SecondaryHash: appaccess.HashKey("another old key"),
	})
	require.NoError(t, err)
	assert.True(t, appaccess.CheckKeyFormat(made.Primary.Reveal()), "the key that is not brought is made")
	assert.Equal(t, appaccess.HashKey(made.Primary.Reveal()), made.Subscription.PrimaryHash)
	assert.True(t, made.Secondary.IsZero())
	assert.Equal(t, appaccess.HashKey("another old key"), made.Subscription.SecondaryHash)

	again, err := h.RegenerateKey(ctx, boss, "both", appaccess.PrimaryKey)
	require.NoError(t, err)
	assert.True(t, appaccess.CheckKeyFormat(again.Reveal()))
	assert.Eventually(t, func() bool {
		st, err := catalog.Key(ctx, appaccess.HashKey(oldPrimary))
		return err == nil && st.DenyReason == appaccess.UnknownKey
	}, 20*time.Second, 10*time.Millisecond, "a brought key is replaced like any other")

	trail, err := h.Audit(ctx, boss, appaccess.AuditFilter{Action: "subscription.create"})
	require.NoError(t, err)
	require.Len(t, trail.Items, 2)
	assert.Equal(t, "secondary", trail.Items[0].Details["broughtKeys"])
	assert.Equal(t, "primary secondary", trail.Items[1].Details["broughtKeys"])
	for _, a := range trail.Items {
		assert.NotContains(t, fmt.Sprint(a), appaccess.HashKey(oldSecondary).String())
	}
}

func TestBroughtKeysAreRefused(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	made, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{
		ID: "first", Name: "First", Scope: appaccess.AllAPIs, PrimaryHash: appaccess.HashKey(oldPrimary),
	})
	require.NoError(t, err)
	_, err = h.SetSubscriptionState(ctx, boss, "first", appaccess.SubscriptionCancelled)
	require.NoError(t, err)
	create := func(by appaccess.Actor, primary, secondary appaccess.KeyHash) error {
		return errOf(h.CreateSubscription(ctx, by, appaccess.SubscriptionRequest{
			ID: "second", Name: "Second", Scope: appaccess.ProductScope("starter"), PrimaryHash: primary, SecondaryHash: secondary,
		}))
	}
	var none appaccess.KeyHash
	before := h.revision()
	assertInvalid(t, create(boss, appaccess.HashKey(""), none), "primaryHash")
	assertInvalid(t, create(boss, none, appaccess.HashKey("")), "secondaryHash")
	assertInvalid(t, create(boss, appaccess.HashKey("same"), appaccess.HashKey("same")), "secondaryHash")
	for field, err := range map[string]error{
		"primaryHash":   create(boss, appaccess.HashKey(oldPrimary), none),
		"secondaryHash": create(boss, none, made.Subscription.SecondaryHash),
	} {
		conflict := assertConflict(t, err, field)
		assert.Equal(t, []string{"first"}, conflict.Objects)
		assert.NotContains(t, err.Error(), appaccess.HashKey(oldPrimary).String())
	}
	require.ErrorIs(t, create(ada, appaccess.HashKey(oldSecondary), none), appaccess.ErrForbidden)
	require.ErrorIs(t, create(ada, appaccess.HashKey(oldPrimary), none), appaccess.ErrForbidden, "nor is a developer told what is taken")
	assert.Equal(t, before, h.revision())
	h.opens("starter")
	require.NoError(t, create(ada, none, none))
}

func documentWithKeys(primary, secondary string) string {
	return fmt.Sprintf(`{"version": 1, "subscriptions": [{"id": "old", "name": "Old", "scope": "/products/starter", "state": "active", "primaryHash": %q, "secondaryHash": %q}]}`, primary, secondary)
}

// A document brings keys to what it creates, and only then: what has been
// regenerated since stays so.
func TestImportBringsKeys(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	d := parse(t, documentWithKeys(appaccess.HashKey(oldPrimary).String(), strings.ToUpper(appaccess.HashKey(oldSecondary).String())))
	report, err := h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	require.Len(t, report.Subscriptions, 1)
	made := report.Subscriptions[0]
	assert.True(t, made.Primary.IsZero() && made.Secondary.IsZero())
	assert.Equal(t, appaccess.HashKey(oldPrimary), made.Subscription.PrimaryHash)
	assert.Equal(t, appaccess.HashKey(oldSecondary), made.Subscription.SecondaryHash)

	_, err = h.RegenerateKey(ctx, boss, "old", appaccess.PrimaryKey)
	require.NoError(t, err)
	before := h.revision()
	report, err = h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Empty(t, report.Differences)
	assert.Equal(t, before, h.revision())
	v, err := h.Subscription(ctx, boss, "old")
	require.NoError(t, err)
	assert.NotEqual(t, appaccess.HashKey(oldPrimary), v.PrimaryHash)
	d.Subscriptions[0].Name = "Renamed"
	_, err = h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	renamed, err := h.Subscription(ctx, boss, "old")
	require.NoError(t, err)
	assert.Equal(t, v.PrimaryHash, renamed.PrimaryHash)

	out, err := exported(h.Service)
	require.NoError(t, err)
	var text bytes.Buffer
	require.NoError(t, out.Write(&text))
	assert.NotContains(t, text.String(), "Hash", "what opens one environment does not go to another")
}

func TestImportRefusesKeys(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	good := appaccess.HashKey(oldPrimary).String()
	for _, bad := range []string{oldPrimary, good + "00", good[:62] + "zz", "sha256:" + good} {
		_, err := appaccess.ParseDocument(strings.NewReader(documentWithKeys(bad, good)))
		assertInvalid(t, err, "document")
		assert.ErrorContains(t, err, "/subscriptions/0/primaryHash")
		assert.NotContains(t, err.Error(), bad, "it may be a key, by mistake")
	}
	_, err := appaccess.ParseDocument(strings.NewReader(documentWithKeys(good, good)))
	assertInvalid(t, err, "subscriptions[0].secondaryHash")
	_, err = h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: "first", Name: "First", Scope: appaccess.AllAPIs, SecondaryHash: appaccess.HashKey(oldPrimary)})
	require.NoError(t, err)
	_, err = h.Import(ctx, boss, parse(t, documentWithKeys(good, appaccess.HashKey(oldSecondary).String())), appaccess.ImportRequest{})
	assertConflict(t, err, "subscription old.primaryHash")
	// The one that goes makes room for the one that comes.
	_, err = h.Import(ctx, boss, parse(t, documentWithKeys(good, appaccess.HashKey(oldSecondary).String())), appaccess.ImportRequest{Prune: true})
	require.NoError(t, err)
}

func TestNewKey(t *testing.T) {
	t.Parallel()
	key, sum := appaccess.NewKey()
	other, _ := appaccess.NewKey()
	assert.True(t, appaccess.CheckKeyFormat(key.Reveal()))
	assert.Equal(t, appaccess.HashKey(key.Reveal()), sum)
	assert.NotEqual(t, key.Reveal(), other.Reveal())
}

// No text can make UnmarshalText panic, and a text that is not a hash changes
// nothing.
func TestKeySumText(t *testing.T) {
	t.Parallel()
	want := appaccess.HashKey("x")
	var got appaccess.KeyHash
	require.NoError(t, got.UnmarshalText([]byte(strings.ToUpper(want.String()))))
	assert.Equal(t, want, got)
	for n := range 200 {
		if n == 64 {
			continue
		}
		assert.ErrorContains(t, got.UnmarshalText(bytes.Repeat([]byte("a"), n)), "64 hex digits", "%d", n)
	}
	assert.Error(t, got.UnmarshalText([]byte(want.String()[:63]+"-")))
	assert.Equal(t, want, got)
}

// Hosts outside this module make the keys that seal.
func TestNewSecret(t *testing.T) {
	t.Parallel()
	s := appaccess.NewSecret("value")
	assert.Equal(t, "value", s.Reveal())
	assert.NotContains(t, fmt.Sprintf("%v %#v %s", s, s, s), "value")
	assert.True(t, appaccess.NewSecret("").IsZero())
}
