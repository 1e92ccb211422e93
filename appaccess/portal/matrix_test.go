package portal_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/portal"
)

// Every route of the table, for every kind of visitor, with GET and POST: who may
// not is refused with the right status, whether the object exists or not, and
// nothing is changed. Whoever signs in may request access, unless they are blocked.
func TestEveryRouteAuthorizes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.orders()
	one := w.application("shop", "ada")
	cred, err := w.service.AddSecret(ctx, root, one.ID, appaccess.SecretRequest{Name: "production"})
	require.NoError(t, err)
	hand, err := w.service.CreateOneTimeSecret(ctx, root, one.ID, appaccess.SecretRequest{})
	require.NoError(t, err)
	sub, err := w.service.CreateSubscription(ctx, root, appaccess.SubscriptionRequest{ID: "s1", Name: "Reporting", OwnerID: "ada", Scope: appaccess.ProductScope("orders")})
	require.NoError(t, err)
	o := ids{one.ID, sub.Subscription.ID, hand.ID, cred.Credential.ID, w.asked("ada"), w.offered()}
	_, err = w.service.CreateUser(ctx, root, appaccess.UserRequest{ID: "alan", Name: "Alan Turing"})
	require.NoError(t, err)
	_, err = w.service.BindUser(ctx, root, "alan", w.tenant.ID(), blockedOID)
	require.NoError(t, err)
	_, err = w.service.BlockUser(ctx, root, "alan")
	require.NoError(t, err)
	before := w.records()
	ofAda := func(path string) bool {
		return strings.Contains(path, "{application}") || strings.Contains(path, "{subscription}") || strings.Contains(path, "{request}") || strings.Contains(path, "/transfers/{transfer}/accept")
	}
	for _, r := range portal.Routes() {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			exists := method == http.MethodGet && r.Show || method == http.MethodPost && r.Send
			for who, refused := range map[string]int{
				"": http.StatusUnauthorized, "noid": http.StatusUnauthorized,
				"nobody": http.StatusForbidden, "foreign": http.StatusForbidden, "blocked": http.StatusForbidden,
				"blaise": http.StatusForbidden, "manager": http.StatusForbidden,
			} {
				switch {
				case who == "blocked":
				case r.Newcomers && refused == http.StatusForbidden:
					// May, but this form has no token and sends nothing. Users go to their own pages.
					refused = http.StatusOK
					if who == "blaise" {
						refused = http.StatusSeeOther
					} else if method == http.MethodPost {
						refused = http.StatusConflict
					}
				case who == "blaise" && !r.Managers && !ofAda(r.Path), who == "manager" && !r.Owners:
					continue // may
				case who == "blaise" && r.Owners:
					refused = http.StatusNotFound // what is another's does not exist
				}
				want := []int{refused}
				if !exists {
					want = []int{http.StatusNotFound, http.StatusMethodNotAllowed, refused} // another route may match
				}
				path := o.fill(r.Path)
				var got answer
				if v := w.visit(who); method == http.MethodGet {
					got = v.get(path)
				} else {
					got = v.send(path)
				}
				assert.Contains(t, want, got.Status, "%s %s as %q", method, path, who)
				for _, private := range []string{one.Entra.AppID, "Web shop", cred.Credential.Hint + "…"} {
					hasNot(t, got, private, path, who)
				}
			}
		}
	}
	assert.Equal(t, before, w.records(), "nothing was changed")
}
