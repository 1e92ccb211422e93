package appaccess_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// An update that carries the revision of what its author saw never overwrites a
// change that came in between.
func TestStaleUpdatesAreRefused(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	sub, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{Name: "one", Scope: appaccess.AllAPIs})
	require.NoError(t, err)
	name := "changed"
	for _, o := range []struct {
		kind   appaccess.Kind
		id     string
		update func(appaccess.Revision) error
	}{
		{appaccess.KindUser, "ada", func(r appaccess.Revision) error {
			return errOf(h.UpdateUser(ctx, boss, "ada", appaccess.UserUpdate{Name: &name, Revision: r}))
		}},
		{appaccess.KindAPI, "orders", func(r appaccess.Revision) error {
			return errOf(h.UpdateAPI(ctx, boss, "orders", appaccess.APIUpdate{Description: &name, Revision: r}))
		}},
		{appaccess.KindProduct, "gold", func(r appaccess.Revision) error {
			return errOf(h.UpdateProduct(ctx, boss, "gold", appaccess.ProductUpdate{Description: &name, Revision: r}))
		}},
		{appaccess.KindProduct, "gold", func(r appaccess.Revision) error {
			return errOf(h.SetAccess(ctx, boss, "gold", appaccess.AccessRequest{Access: appaccess.Access{Token: true, Key: len(name)%2 == 0}, Revision: r}))
		}},
		{appaccess.KindApplication, "billing", func(r appaccess.Revision) error {
			return errOf(h.UpdateApplication(ctx, boss, "billing", appaccess.ApplicationUpdate{Description: &name, Revision: r}))
		}},
		{appaccess.KindSubscription, sub.Subscription.ID, func(r appaccess.Revision) error {
			return errOf(h.UpdateSubscription(ctx, boss, sub.Subscription.ID, appaccess.SubscriptionUpdate{Name: &name, Revision: r}))
		}},
	} {
		rev, err := h.Revision(ctx, boss, o.kind, o.id)
		require.NoError(t, err, o.kind)
		name += "x" // every update differs
		require.NoError(t, o.update(rev), o.kind)
		name += "x"
		var conflict *appaccess.ConflictError
		require.ErrorAs(t, o.update(rev), &conflict, o.kind)
		assert.Equal(t, appaccess.RevisionField, conflict.Field)
		name += "x"
		assert.NoError(t, o.update(0), "0 stands for any: %s", o.kind)
	}
	for _, kind := range []appaccess.Kind{appaccess.KindUser, appaccess.KindProduct, appaccess.KindAPI} {
		_, err := h.Revision(ctx, appaccess.Developer("ada"), kind, "ada")
		assert.ErrorIs(t, err, appaccess.ErrForbidden, kind)
		_, err = h.Revision(ctx, boss, kind, "none")
		assert.ErrorIs(t, err, appaccess.ErrNotFound, kind)
	}
	_, err = h.Revision(ctx, boss, appaccess.KindAudit, "x")
	assert.ErrorAs(t, err, new(*appaccess.InvalidError))
}

// Of several replicas that get the same form, one serves it.
func TestAFormIsSpentOnce(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	ends := h.clock.Now().Add(time.Hour)
	var first atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if ok, err := h.SpendForm(ctx, boss, "form1", ends); assert.NoError(t, err) && ok {
				first.Add(1)
			}
		})
	}
	all.Wait()
	assert.Equal(t, int64(1), first.Load())
	ok, err := h.SpendForm(ctx, boss, "form2", ends)
	assert.True(t, ok && err == nil)
	for _, end := range []time.Time{h.clock.Now(), h.clock.Now().Add(25 * time.Hour)} {
		_, err = h.SpendForm(ctx, boss, "form3", end)
		assert.ErrorAs(t, err, new(*appaccess.InvalidError))
	}
	_, err = h.SpendForm(ctx, boss, "No ID", ends)
	assert.ErrorAs(t, err, new(*appaccess.InvalidError))

	// What expired is removed by those that come later.
	h.clock.Advance(2 * time.Hour)
	_, err = h.SpendForm(ctx, boss, "form4", h.clock.Now().Add(time.Hour))
	require.NoError(t, err)
	var left []appaccess.Record
	require.NoError(t, h.store.View(ctx, func(r appaccess.Reader) (err error) {
		left, err = r.List(appaccess.Query{Kind: appaccess.KindForm})
		return err
	}))
	require.Len(t, left, 1)
	assert.True(t, strings.HasSuffix(left[0].ID, "form4"))
}

// A form marks all its wrong fields at once, so the error names them all.
func TestAllWrongFieldsAreNamed(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	for want, err := range map[string]error{
		"name path serviceUrl":       errOf(h.CreateAPI(ctx, boss, appaccess.APIRequest{Path: "x", ServiceURL: "ftp://x"})),
		"name email":                 errOf(h.CreateUser(ctx, boss, appaccess.UserRequest{Email: "x"})),
		"id apis name":               errOf(h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: "A b", APIs: []string{"A b"}})),
		"name ownerId grants":        errOf(h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{})),
		"name scope ownerId expires": errOf(h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{OwnerID: "A b", Expires: time.Unix(1, 0)})),
		"tenantId objectId":          errOf(h.BindUser(ctx, boss, "ada", "x", "y")),
	} {
		joined, ok := err.(interface{ Unwrap() []error })
		require.True(t, ok, want)
		var fields []string
		for _, one := range joined.Unwrap() {
			for _, field := range []string{"id", "apis", "name", "path", "serviceUrl", "email", "ownerId", "grants", "scope", "expires", "tenantId", "objectId"} {
				if strings.Contains(one.Error(), field+": ") && !strings.Contains(strings.Join(fields, " "), field) {
					fields = append(fields, field)
				}
			}
		}
		assert.ElementsMatch(t, strings.Fields(want), fields)
	}
}

// Joiners are part of names: of emoji with several parts and of scripts whose
// letters join. Where they show nothing they are refused.
func TestNamesMayHoldJoiners(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	for _, name := range []string{"👩\u200d💻 Ada", "👨\u200d👩\u200d👧\u200d👦", "क्\u200dष", "نامه\u200cای", "🏳️\u200d🌈 team"} {
		_, err := h.CreateUser(ctx, boss, appaccess.UserRequest{Name: name})
		assert.NoError(t, err, "%q", name)
	}
	for _, name := range []string{"ad\u200da", "\u200dAda", "Ada\u200d", "a\u200cb", "نا \u200dمه", "x\u200d\u200dy"} {
		_, err := h.CreateUser(ctx, boss, appaccess.UserRequest{Name: name})
		assert.ErrorAs(t, err, new(*appaccess.InvalidError), "%q", name)
	}
}
