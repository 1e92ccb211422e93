package entratest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// A stranger registers, copies and deletes applications of their own, and can
// change nothing that belongs to somebody else.
func TestStranger(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	tenant, err := entratest.New(entratest.Config{Lag: entratest.Lag{Min: time.Minute, Max: time.Hour}})
	require.NoError(t, err)
	victim, err := tenant.AddApplication(entratest.App{Name: "Victim", UniqueName: "victim", Tags: []string{"a", "b"}, Roles: []string{"R"}})
	require.NoError(t, err)
	s, err := tenant.AddStranger("mallory")
	require.NoError(t, err)

	d, err := s.Copy(ctx, provision.AppRef{UniqueName: "victim"}, "decoy")
	require.NoError(t, err)
	assert.False(t, d.Secret.IsZero())
	var api *provision.APIError
	_, err = s.Register(ctx, entratest.App{Name: "x", UniqueName: "victim"})
	require.ErrorAs(t, err, &api)
	assert.Contains(t, api.Message, "uniqueName already exists")
	err = s.Delete(ctx, entratest.Decoy{ObjectID: victim.ApplicationID})
	require.ErrorAs(t, err, &api)
	assert.Equal(t, 403, api.Status)

	state := tenant.State()
	var decoy entratest.ApplicationState
	for _, a := range state.Applications {
		if a.Key == "decoy" {
			decoy = a
		}
	}
	assert.Equal(t, []string{"a", "b"}, decoy.Tags)
	assert.Equal(t, []string{"R"}, decoy.Roles)
	assert.Equal(t, 1, decoy.ServicePrincipals)
	require.NoError(t, s.Delete(ctx, d))
	assert.Equal(t, []string{"decoy"}, tenant.State().Deleted)
}
