package msgraph_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/directorytest"
	"github.com/entragate/entragate/provision/entratest"
	"github.com/entragate/entragate/provision/msgraph"
)

// The tenant that the environment names; without one, a local tenant.
const (
	tenantVariable  = "ENTRAGATE_TEST_TENANT"
	consentVariable = "ENTRAGATE_TEST_TENANT_CONSENT"
)

// tenantDirectory opens the tenant that the environment names, or a local one.
// token tries a client's secret at the token endpoint.
func tenantDirectory(t *testing.T) (d provision.Directory, token func(ctx context.Context, appID string, secret appaccess.Secret, scope string) error) {
	t.Helper()
	id := os.Getenv(tenantVariable)
	if id == "" {
		s := entratest.NewServer(t, entratest.Config{})
		caller, err := s.AddCaller("entragate", entratest.ApplicationAdministrator)
		require.NoError(t, err)
		return open(t, s, caller), func(ctx context.Context, appID string, secret appaccess.Secret, scope string) error {
			credential, err := azidentity.NewClientSecretCredential(s.ID(), appID, secret.Reveal(),
				&azidentity.ClientSecretCredentialOptions{ClientOptions: authority(s), DisableInstanceDiscovery: true})
			if err == nil {
				_, err = credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
			}
			return err
		}
	}
	require.Equal(t, "create and delete applications in "+id, os.Getenv(consentVariable),
		"%s names a tenant, but %s does not consent: see .github/CONTRIBUTING.md", tenantVariable, consentVariable)
	credential, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{TenantID: id})
	require.NoError(t, err)
	d, err = msgraph.New(msgraph.Config{Credential: credential})
	require.NoError(t, err)
	who, err := d.Identity(t.Context())
	require.NoError(t, err)
	require.True(t, strings.EqualFold(id, who.TenantID), "the credential is of tenant %s, %s names %s", who.TenantID, tenantVariable, id)
	return d, func(ctx context.Context, appID string, secret appaccess.Secret, scope string) error {
		credential, err := azidentity.NewClientSecretCredential(id, appID, secret.Reveal(), nil)
		if err == nil {
			_, err = credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
		}
		return err
	}
}

func TestTenantDirectory(t *testing.T) {
	d, _ := tenantDirectory(t)
	directorytest.RunOn(t, directorytest.Tenant{Open: func(*testing.T) provision.Directory { return d }})
}

// The whole life of a product and a client, in an Instance of its own: created,
// granted, given a secret that gets a token, suspended, revoked and removed.
func TestTenantLife(t *testing.T) {
	d, token := tenantDirectory(t)
	instance := "t" + strings.ReplaceAll(uuid.NewString(), "-", "")[:20]
	e, err := provision.New(provision.Config{Directory: d, Store: memstore.New(), Instance: instance, LagBudget: 10 * time.Minute})
	require.NoError(t, err)
	product := appaccess.DesiredProduct{ID: "p", ApplicationName: "entragate test product " + instance, Roles: []appaccess.Role{{Permission: appaccess.AllPermission, Value: "Product.All"}}}
	client := appaccess.DesiredApplication{ID: "c", ApplicationName: "entragate test client " + instance, Name: "test", OwnerID: "test", Grants: appaccess.GrantsOfAll("p")}
	apply := func(ctx context.Context, want memstore.Desired) (appaccess.Applied, error) {
		return e.Apply(ctx, want.Objects(), want, nil)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		applied, err := apply(ctx, memstore.Desired{Products: []appaccess.DesiredProduct{{ID: "p", Deleted: true}}, Applications: []appaccess.DesiredApplication{{ID: "c", Deleted: true}}})
		assert.NoError(t, err)
		assert.Empty(t, applied.Failed, "delete the applications of instance %s by hand", instance)
		left, err := d.TaggedApplications(ctx, "entragate:instance:"+instance)
		assert.NoError(t, err)
		if os.Getenv(tenantVariable) == "" { // a list of a real tenant may lag
			assert.Empty(t, left)
		}
	})
	do := func() appaccess.Applied {
		applied, err := apply(t.Context(), memstore.Desired{Products: []appaccess.DesiredProduct{product}, Applications: []appaccess.DesiredApplication{client}})
		require.NoError(t, err)
		require.Empty(t, applied.Failed)
		return applied
	}
	ready, err := e.Preflight(t.Context())
	require.NoError(t, err)
	require.True(t, ready.OK, "%+v", ready.Checks)
	applied := do()
	var secret appaccess.Secret
	added, err := e.AddCredential(t.Context(), "c", appaccess.CredentialRequest{
		OperationID: uuid.NewString(), Kind: appaccess.SecretCredential, Name: "test", Lifetime: 24 * time.Hour,
		Deliver: func(_ context.Context, _ appaccess.Writer, _ appaccess.Credential, v appaccess.Secret) error {
			secret = v
			return nil
		},
	})
	require.NoError(t, err)
	scope := "api://" + applied.Products["p"].AppID + "/.default"
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.NoError(c, token(t.Context(), applied.Applications["c"].AppID, secret, scope))
	}, 5*time.Minute, 100*time.Millisecond)
	review, err := e.Review(t.Context(), []string{"p"}, []string{"c"})
	require.NoError(t, err)
	assert.True(t, review.Products[0].Found && review.Applications[0].Found)
	require.NoError(t, e.RemoveCredential(t.Context(), "c", added, nil))
	client.Disabled = true
	do()
	client.Disabled, client.Grants = false, nil
	do()
}
