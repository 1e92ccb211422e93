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
	h := newHouse(t)
	catalog, err := appaccess.NewCatalog(ctx, appaccess.CatalogConfig{Store: h.store})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, catalog.Close()) })
	made, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{
		ID: "both", Name: "Both", Scope: appaccess.AllAPIs, PrimarySum: appaccess.SumKey(oldPrimary), SecondarySum: appaccess.SumKey(oldSecondary),
	})
	require.NoError(t, err)
	assert.True(t, made.Primary.IsZero())
	assert.True(t, made.Secondary.IsZero())
	for key, primary := range map[string]bool{oldPrimary: true, oldSecondary: false} {
		assert.Eventually(t, func() bool {
			st, err := catalog.Key(ctx, appaccess.SumKey(key))
			return err == nil && st.Refusal == appaccess.NotRefused && st.SubscriptionID == "both" && st.Primary == primary
		}, 20*time.Second, 10*time.Millisecond)
	}

	made, err = h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{
		ID: "one", Name: "One", Scope: appaccess.AllAPIs, SecondarySum: appaccess.SumKey("another old key"),
	})
	require.NoError(t, err)
	assert.True(t, appaccess.CheckKeyFormat(made.Primary.Reveal()), "the key that is not brought is made")
	assert.Equal(t, appaccess.SumKey(made.Primary.Reveal()), made.Subscription.PrimarySum)
	assert.True(t, made.Secondary.IsZero())
	assert.Equal(t, appaccess.SumKey("another old key"), made.Subscription.SecondarySum)

	again, err := h.RegenerateKey(ctx, boss, "both", appaccess.PrimaryKey)
	require.NoError(t, err)
	assert.True(t, appaccess.CheckKeyFormat(again.Reveal()))
	assert.Eventually(t, func() bool {
		st, err := catalog.Key(ctx, appaccess.SumKey(oldPrimary))
		return err == nil && st.Refusal == appaccess.UnknownKey
	}, 20*time.Second, 10*time.Millisecond, "a brought key is replaced like any other")

	trail, err := h.Audit(ctx, boss, appaccess.AuditFilter{Action: "subscription.create"})
	require.NoError(t, err)
	require.Len(t, trail.Items, 2)
	assert.Equal(t, "secondary", trail.Items[0].Details["broughtKeys"])
	assert.Equal(t, "primary secondary", trail.Items[1].Details["broughtKeys"])
	for _, a := range trail.Items {
		assert.NotContains(t, fmt.Sprint(a), appaccess.SumKey(oldSecondary).String())
	}
}

func TestBroughtKeysAreRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t).withPeople()
	made, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{
		ID: "first", Name: "First", Scope: appaccess.AllAPIs, PrimarySum: appaccess.SumKey(oldPrimary),
	})
	require.NoError(t, err)
	_, err = h.SetSubscriptionState(ctx, boss, "first", appaccess.SubscriptionCancelled)
	require.NoError(t, err)
	create := func(by appaccess.Actor, primary, secondary appaccess.KeySum) error {
		return errOf(h.CreateSubscription(ctx, by, appaccess.SubscriptionRequest{
			ID: "second", Name: "Second", Scope: appaccess.ProductScope("starter"), PrimarySum: primary, SecondarySum: secondary,
		}))
	}
	var none appaccess.KeySum
	before := h.revision()
	assertInvalid(t, create(boss, appaccess.SumKey(""), none), "primarySum")
	assertInvalid(t, create(boss, none, appaccess.SumKey("")), "secondarySum")
	assertInvalid(t, create(boss, appaccess.SumKey("same"), appaccess.SumKey("same")), "secondarySum")
	for field, err := range map[string]error{
		"primarySum":   create(boss, appaccess.SumKey(oldPrimary), none),
		"secondarySum": create(boss, none, made.Subscription.SecondarySum),
	} {
		conflict := assertConflict(t, err, field)
		assert.Equal(t, []string{"first"}, conflict.Objects)
		assert.NotContains(t, err.Error(), appaccess.SumKey(oldPrimary).String())
	}
	require.ErrorIs(t, create(ada, appaccess.SumKey(oldSecondary), none), appaccess.ErrForbidden)
	require.ErrorIs(t, create(ada, appaccess.SumKey(oldPrimary), none), appaccess.ErrForbidden, "nor is a developer told what is taken")
	assert.Equal(t, before, h.revision())
	require.NoError(t, create(ada, none, none))
}

func documentWithKeys(primary, secondary string) string {
	return fmt.Sprintf(`{"version": 1, "subscriptions": [{"id": "old", "name": "Old", "scope": "/products/starter", "state": "active", "primarySum": %q, "secondarySum": %q}]}`, primary, secondary)
}

// A document brings keys to what it creates, and only then: what has been
// regenerated since stays so.
func TestImportBringsKeys(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := parse(t, documentWithKeys(appaccess.SumKey(oldPrimary).String(), strings.ToUpper(appaccess.SumKey(oldSecondary).String())))
	report, err := h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	require.Len(t, report.Subscriptions, 1)
	made := report.Subscriptions[0]
	assert.True(t, made.Primary.IsZero() && made.Secondary.IsZero())
	assert.Equal(t, appaccess.SumKey(oldPrimary), made.Subscription.PrimarySum)
	assert.Equal(t, appaccess.SumKey(oldSecondary), made.Subscription.SecondarySum)

	_, err = h.RegenerateKey(ctx, boss, "old", appaccess.PrimaryKey)
	require.NoError(t, err)
	before := h.revision()
	report, err = h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Empty(t, report.Differences)
	assert.Equal(t, before, h.revision())
	v, err := h.Subscription(ctx, boss, "old")
	require.NoError(t, err)
	assert.NotEqual(t, appaccess.SumKey(oldPrimary), v.PrimarySum)
	d.Subscriptions[0].Name = "Renamed"
	_, err = h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	renamed, err := h.Subscription(ctx, boss, "old")
	require.NoError(t, err)
	assert.Equal(t, v.PrimarySum, renamed.PrimarySum)

	out, err := h.Export(ctx, boss)
	require.NoError(t, err)
	var text bytes.Buffer
	require.NoError(t, out.Write(&text))
	assert.NotContains(t, text.String(), "Sum", "what opens one environment does not go to another")
}

func TestImportRefusesKeys(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	good := appaccess.SumKey(oldPrimary).String()
	for _, bad := range []string{oldPrimary, good + "00", good[:62] + "zz", "sha256:" + good} {
		_, err := appaccess.ParseDocument(strings.NewReader(documentWithKeys(bad, good)))
		assertInvalid(t, err, "document")
		assert.ErrorContains(t, err, "/subscriptions/0/primarySum")
		assert.NotContains(t, err.Error(), bad, "it may be a key, by mistake")
	}
	_, err := appaccess.ParseDocument(strings.NewReader(documentWithKeys(good, good)))
	assertInvalid(t, err, "subscriptions[0].secondarySum")
	_, err = h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: "first", Name: "First", Scope: appaccess.AllAPIs, SecondarySum: appaccess.SumKey(oldPrimary)})
	require.NoError(t, err)
	_, err = h.Import(ctx, boss, parse(t, documentWithKeys(good, appaccess.SumKey(oldSecondary).String())), appaccess.ImportRequest{})
	assertConflict(t, err, "subscription old.primarySum")
	// The one that goes makes room for the one that comes.
	_, err = h.Import(ctx, boss, parse(t, documentWithKeys(good, appaccess.SumKey(oldSecondary).String())), appaccess.ImportRequest{Prune: true})
	require.NoError(t, err)
}

func TestNewKey(t *testing.T) {
	t.Parallel()
	key, sum := appaccess.NewKey()
	other, _ := appaccess.NewKey()
	assert.True(t, appaccess.CheckKeyFormat(key.Reveal()))
	assert.Equal(t, appaccess.SumKey(key.Reveal()), sum)
	assert.NotEqual(t, key.Reveal(), other.Reveal())
}

// Whatever is read as a sum does no harm, and changes nothing if it is none.
func TestKeySumText(t *testing.T) {
	t.Parallel()
	want := appaccess.SumKey("x")
	var got appaccess.KeySum
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
