package provision_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// An object that was created without an owner is an error of its own, which says
// who can make the identity an owner. With the owner, the next call goes on.
func TestCreatedButNotOwned(t *testing.T) {
	t.Parallel()
	for kind, policy := range map[string]entratest.Policy{
		"application": {CreateWithoutOwner: true}, "service principal": {UpsertWithoutOwner: true},
	} {
		w := newWorld(t, entratest.Config{Policy: policy}, entratest.ReadWriteOwned)
		want := memstore.Desired{Products: products("starter")}
		applied, err := w.engine().Apply(t.Context(), want, nil)
		require.NoError(t, err)
		failed := applied.Failed["product starter"]
		var notOwned *provision.NotOwnedError
		require.ErrorAs(t, failed, &notOwned, kind)
		assert.Equal(t, kind, notOwned.Kind)
		assert.True(t, notOwned.Created)
		var e *provision.Error
		require.ErrorAs(t, failed, &e)
		assert.Equal(t, provision.Permanent, e.Kind)
		assert.Contains(t, e.Advice, w.caller.ObjectID)
		assert.Contains(t, e.Advice, "owner")
		if kind != "application" {
			continue
		}

		// The same of a write that Graph refuses later.
		w.settle()
		applied, err = w.engine().Apply(t.Context(), want, nil)
		require.NoError(t, err)
		require.ErrorAs(t, applied.Failed["product starter"], &notOwned)
		assert.False(t, notOwned.Created)
		w.own(notOwned.ObjectID)
		w.tenant.SetPolicy(entratest.Policy{})
		w.apply(want)
	}
}

// own makes the caller an owner of an application, as an administrator does.
func (w *world) own(applicationID string) {
	w.t.Helper()
	admin, err := w.tenant.AddCaller("administrator", entratest.ApplicationAdministrator)
	require.NoError(w.t, err)
	client := &http.Client{Transport: w.tenant.Transport()}
	resp, err := client.PostForm(w.tenant.TokenURL(), url.Values{
		"grant_type": {"client_credentials"}, "client_id": {admin.AppID}, "client_secret": {admin.Secret.Reveal()}, "scope": {w.tenant.GraphScope()},
	})
	require.NoError(w.t, err)
	var token struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(w.t, json.NewDecoder(resp.Body).Decode(&token))
	require.NoError(w.t, resp.Body.Close())
	body := fmt.Sprintf(`{"@odata.id":"%s/v1.0/directoryObjects/%s"}`, w.tenant.GraphURL(), w.caller.ObjectID)
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.tenant.GraphURL()+"/v1.0/applications/"+applicationID+"/owners/$ref", strings.NewReader(body))
	require.NoError(w.t, err)
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err = client.Do(req)
	require.NoError(w.t, err)
	require.NoError(w.t, resp.Body.Close())
	require.Equal(w.t, http.StatusNoContent, resp.StatusCode)
}

// An identity that replaces another one owns nothing: preflight says so, and a
// refused write too.
func TestReplacedIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{}, entratest.ReadWriteOwned)
	want := memstore.Desired{Products: products("starter")}
	w.apply(want)
	assert.True(t, w.check("own the applications").OK)
	next, err := w.tenant.AddCaller("next", entratest.ReadWriteOwned)
	require.NoError(t, err)
	w.caller, w.dir = next, w.tenant.Directory(next)
	c := w.check("own the applications")
	assert.False(t, c.OK)
	assert.Contains(t, c.Remedy, "az ad app owner add")
	assert.Contains(t, c.Remedy, next.ObjectID)
	w.settle()
	want.Products[0].Description = "changed"
	applied, err := w.engine().Apply(t.Context(), want, nil)
	require.NoError(t, err)
	var notOwned *provision.NotOwnedError
	require.ErrorAs(t, applied.Failed["product starter"], &notOwned)
	w.own(notOwned.ObjectID)
	w.apply(want)
}

// ownerless is a directory that may not read owners.
type ownerless struct{ provision.Directory }

func (d ownerless) ApplicationOwners(context.Context, string) ([]string, error) {
	return nil, &provision.APIError{Status: http.StatusForbidden, Code: "Authorization_RequestDenied"}
}

// Preflight does not report applications as owned whose owners it cannot read.
func TestOwnersThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{}, entratest.ReadWriteOwned)
	w.apply(memstore.Desired{Products: products("starter")})
	w.dir = ownerless{w.dir}
	p, err := w.engine().Preflight(t.Context())
	require.NoError(t, err)
	for _, c := range p.Checks {
		assert.NotEqual(t, "own the applications", c.Name, c.Detail)
	}
}

// check is one check of Preflight by its name.
func (w *world) check(name string) appaccess.Check {
	w.t.Helper()
	p, err := w.engine().Preflight(w.t.Context())
	require.NoError(w.t, err)
	for _, c := range p.Checks {
		if c.Name == name {
			return c
		}
	}
	require.Fail(w.t, "no check", name)
	return appaccess.Check{}
}

// A right that was given after the token was issued is named as such.
func TestRightNewerThanTheToken(t *testing.T) {
	t.Parallel()
	for _, right := range []string{entratest.ApplicationAdministrator, entratest.ReadWriteOwned} {
		w := newWorld(t, entratest.Config{}, entratest.ReadApplications)
		assert.False(t, w.check("manage applications").OK)
		require.NoError(t, w.tenant.SetRights(w.caller, entratest.ReadApplications, right))
		c := w.check("manage applications")
		assert.False(t, c.OK)
		assert.Contains(t, c.Detail, right)
		assert.Contains(t, c.Detail, "is older")
		assert.Contains(t, c.Remedy, "24 hours")
		w.clock.Advance(2 * time.Hour) // a new token
		assert.True(t, w.check("manage applications").OK, right)
	}
}

// Preflight says how near the quota is, and that it is reached.
func TestDistanceToTheQuota(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{}, entratest.ReadWriteOwned)
	w.apply(memstore.Desired{Products: products("starter", "gold")})
	c := w.check("quota")
	assert.True(t, c.OK)
	assert.Contains(t, c.Detail, "created 4 of at most 250 objects")
	for i := range 246 {
		_, err := w.dir.CreateApplication(t.Context(), provision.ApplicationPatch{DisplayName: new(fmt.Sprint("app ", i))})
		require.NoError(t, err)
	}
	c = w.check("quota")
	assert.False(t, c.OK)
	assert.Contains(t, c.Remedy, "microsoft.directory/applications/create")
}
