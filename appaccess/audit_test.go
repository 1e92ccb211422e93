package appaccess_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

func TestAuditRecordsNameActorAndChange(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Name: "ci"})
	require.NoError(t, err)
	h.clock.Advance(time.Hour)
	_, err = h.SuspendApplication(ctx, boss, "billing")
	require.NoError(t, err)
	_, err = h.SuspendApplication(ctx, boss, "billing")
	require.NoError(t, err, "once more changes nothing, and nothing is noted")

	page, err := h.Audit(ctx, boss, appaccess.AuditFilter{Object: "application/billing"})
	require.NoError(t, err)
	var actions []string
	for _, a := range page.Items {
		actions = append(actions, a.Actor+" "+a.Action)
	}
	assert.Equal(t, []string{"boss application.suspend", "ada credential.add", "boss application.register"}, actions)
	assert.Equal(t, h.clock.Now(), page.Items[0].Time)
	assert.True(t, page.Items[0].Manager)
	assert.Equal(t, "ci", page.Items[1].Details["name"])

	page, err = h.Audit(ctx, boss, appaccess.AuditFilter{Actor: "ada"})
	require.NoError(t, err)
	assert.Len(t, page.Items, 1)
	page, err = h.Audit(ctx, boss, appaccess.AuditFilter{Action: "application.suspend", From: h.clock.Now()})
	require.NoError(t, err)
	assert.Len(t, page.Items, 1)
	page, err = h.Audit(ctx, boss, appaccess.AuditFilter{Action: "application.suspend", To: h.clock.Now()})
	require.NoError(t, err)
	assert.Empty(t, page.Items)
}

func TestAuditPagesAndExports(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	var paged []appaccess.AuditRecord
	f := appaccess.AuditFilter{Limit: 3}
	for {
		page, err := h.Audit(ctx, boss, f)
		require.NoError(t, err)
		paged = append(paged, page.Items...)
		if f.After = page.Next; f.After == "" {
			break
		}
	}
	var out bytes.Buffer
	require.NoError(t, h.ExportAudit(ctx, boss, &out, appaccess.AuditFilter{}))
	var exported []appaccess.AuditRecord
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		var a appaccess.AuditRecord
		require.NoError(t, json.Unmarshal(lines.Bytes(), &a))
		exported = append(exported, a)
	}
	require.NotEmpty(t, exported)
	assert.Equal(t, "api.create", exported[0].Action)
	assert.Equal(t, "entragate", exported[0].Actor)
	require.Len(t, paged, len(exported))
	for i, a := range exported {
		assert.Equal(t, a, paged[len(paged)-1-i])
	}
}

// A refused or failed change leaves no trace in the trail, and the other way
// round: what is in the trail was done.
func TestAuditIsWrittenWithTheChange(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	count := func() int {
		page, err := h.Audit(ctx, boss, appaccess.AuditFilter{Limit: 999})
		require.NoError(t, err)
		return len(page.Items)
	}
	before := count()
	h.store.arm(1, false)
	_, err := h.BlockUser(ctx, boss, "ada")
	require.ErrorIs(t, err, appaccess.ErrUnavailable)
	assert.Equal(t, before, count())
	_, err = h.CreateUser(ctx, boss, appaccess.UserRequest{ID: "ada", Name: "Again"})
	assertConflict(t, err, "id")
	assert.Equal(t, before, count())
	_, err = h.BlockUser(ctx, boss, "ada")
	require.NoError(t, err)
	assert.Equal(t, before+1, count())
}

// The trail says what a change made of an object where that decides about
// access: who signs in as whom, where requests go, until when a key works.
func TestAuditSaysWhatChanged(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	oid := "00001111-aaaa-2222-bbbb-3333cccc4444"
	_, err := h.BindUser(ctx, boss, "ada", tenantID, oid)
	require.NoError(t, err)
	_, err = h.UpdateAPI(ctx, boss, "echo-api", appaccess.APIUpdate{ServiceURL: ptr("https://elsewhere.example")})
	require.NoError(t, err)
	_, err = h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: "sub", Name: "S", Scope: appaccess.AllAPIs})
	require.NoError(t, err)
	end := h.clock.Now().Add(time.Hour)
	_, err = h.UpdateSubscription(ctx, boss, "sub", appaccess.SubscriptionUpdate{Expires: &end})
	require.NoError(t, err)
	for action, want := range map[string][2]string{
		"user.bind":           {"account", tenantID + "/" + oid},
		"api.update":          {"serviceUrl", "https://elsewhere.example"},
		"subscription.update": {"expires", "2026-03-01T13:00:00Z"},
	} {
		trail, err := h.Audit(ctx, boss, appaccess.AuditFilter{Action: action})
		require.NoError(t, err)
		require.Len(t, trail.Items, 1, action)
		assert.Equal(t, want[1], trail.Items[0].Details[want[0]], action)
	}
}

// Whether the value of a secret was shown to who made it is what an
// investigation asks first.
func TestAuditSaysWhoSawASecret(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.AddSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	_, err = h.CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	trail, err := h.Audit(ctx, boss, appaccess.AuditFilter{Action: "credential.add"})
	require.NoError(t, err)
	require.Len(t, trail.Items, 2)
	assert.Equal(t, "sealed for the owner", trail.Items[0].Details["value"])
	assert.Equal(t, "shown to the actor", trail.Items[1].Details["value"])
}

func TestAuditRecordsAreExportedAndThenPruned(t *testing.T) {
	t.Parallel()
	h, counted := newCountedFixture(t)
	_, err := h.Import(ctx, boss, largeDocument(t, 40), appaccess.ImportRequest{})
	require.NoError(t, err)
	h.clock.Advance(20 * 24 * time.Hour)
	border := h.clock.Now()
	_, err = h.PruneAudit(ctx, boss, border)
	var invalid *appaccess.InvalidError
	require.ErrorAs(t, err, &invalid, "the last 30 days stay")
	_, err = h.BlockUser(ctx, boss, "ada")
	require.NoError(t, err)
	h.clock.Advance(40 * 24 * time.Hour)

	var out bytes.Buffer
	require.NoError(t, h.ExportAudit(ctx, boss, &out, appaccess.AuditFilter{To: border}))
	counted.updates = 0
	n, err := h.PruneAudit(ctx, boss, border)
	require.NoError(t, err)
	assert.Equal(t, bytes.Count(out.Bytes(), []byte("\n")), n, "what was exported is what is gone")
	assert.Equal(t, n/20+1, counted.updates)
	left, err := h.Audit(ctx, boss, appaccess.AuditFilter{})
	require.NoError(t, err)
	require.Len(t, left.Items, 2)
	assert.Equal(t, "audit.prune", left.Items[0].Action)
	assert.Equal(t, "boss", left.Items[0].Actor)
	assert.Equal(t, "user.block", left.Items[1].Action)
	n, err = h.PruneAudit(ctx, boss, border)
	require.NoError(t, err)
	assert.Zero(t, n)
}
