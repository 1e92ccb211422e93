package appaccess_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// A secret is not delivered to an application that was deleted meanwhile, and
// does not stay.
func TestASecretOfWhatIsDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	h.entra.minted = func() {
		h.entra.minted = nil
		assert.NoError(t, h.DeleteApplication(ctx, boss, "billing"))
	}
	_, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
	assert.Equal(t, 404, appaccess.Status(err), err)
	assert.Empty(t, h.entra.creds["billing"])
}

// Two secrets made by two calls are two secrets: none is the other's.
func TestSecretsOfTwoCalls(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	var first appaccess.IssuedSecret
	h.entra.block = func(context.Context) {
		h.entra.block = nil
		var err error
		first, err = h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
		require.NoError(t, err)
	}
	made, err := h.CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	second, err := h.ReceiveSecret(ctx, ada, "billing", made.ID)
	require.NoError(t, err)
	assert.True(t, h.entra.works("billing", first.Value.Reveal()))
	assert.True(t, h.entra.works("billing", second.Value.Reveal()))
}

// The overlap of a replaced secret does not outlast the secret.
func TestOverlapEndsWithTheSecret(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	first, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Lifetime: time.Hour})
	require.NoError(t, err)
	_, err = h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Rotate: true, Overlap: 24 * time.Hour})
	require.NoError(t, err)
	list, err := h.Credentials(ctx, ada, "billing")
	require.NoError(t, err)
	for _, c := range list {
		if c.ID == first.Credential.ID {
			assert.Equal(t, first.Credential.End, c.RemoveAfter)
		}
	}
}

// An import may name an application for two reasons; Entra is asked once.
func TestAnImportNamesAnApplicationOnce(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	doc, err := exported(h.Service)
	require.NoError(t, err)
	for i := range doc.Users {
		doc.Users[i].Blocked = doc.Users[i].ID == "ada"
	}
	for i := range doc.Applications {
		doc.Applications[i].Description = "changed"
	}
	_, err = h.Import(ctx, boss, doc, appaccess.ImportRequest{})
	require.NoError(t, err)
	a, err := h.Application(ctx, boss, "billing")
	require.NoError(t, err)
	assert.False(t, a.Sync.Pending)
	assert.True(t, h.entra.apps["billing"].Disabled)
}
