package tokenclient_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
	"github.com/entragate/entragate/tokenclient"
)

// shop is a tenant with a product that one client is granted.
type shop struct {
	*entratest.Server
	client entratest.Caller
	scope  string
}

func newShop(t *testing.T) shop {
	t.Helper()
	s := shop{Server: entratest.NewServer(t, entratest.Config{})}
	product, err := s.AddApplication(entratest.App{
		Name: "APIMProductApplicationStarter", Roles: []string{"Product.Starter.All"},
		URIs: []string{"api://{appId}"}, TokenVersion: 2, IDType: true, AssignmentRequired: true,
	})
	require.NoError(t, err)
	s.client, err = s.AddCaller("client")
	require.NoError(t, err)
	require.NoError(t, s.Grant(s.client.AppID, product.AppID, "Product.Starter.All"))
	s.scope = "api://" + product.AppID + "/.default"
	return s
}

// as is a client of the tenant.
func (s shop) as(t *testing.T, credential tokenclient.Credential, change func(*tokenclient.Config)) *tokenclient.Client {
	t.Helper()
	cfg := tokenclient.Config{
		TenantID: s.ID(), ClientID: s.client.AppID, Authority: s.BaseURL(),
		Credential: credential, HTTPClient: s.Client(),
	}
	if change != nil {
		change(&cfg)
	}
	c, err := tokenclient.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func (s shop) secret() tokenclient.Credential { return tokenclient.Secret(s.client.Secret.Reveal()) }

// admin changes the client's application.
func (s shop) admin(t *testing.T) provision.Directory {
	t.Helper()
	admin, err := s.AddCaller("admin", entratest.ReadWriteAll)
	require.NoError(t, err)
	return s.Directory(admin)
}

func roles(t *testing.T, token string) any {
	t.Helper()
	claims := jwt.MapClaims{}
	_, _, err := jwt.NewParser().ParseUnverified(token, claims)
	require.NoError(t, err)
	return claims["roles"]
}

// Every kind of credential gets a token of a tenant that checks it.
func TestEntraCredentials(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	key, leaf := newCertificate(t, time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
	directory := s.admin(t)
	require.NoError(t, directory.PatchApplication(patient(t), s.client.ApplicationID, provision.ApplicationPatch{
		Keys: &[]provision.KeyCredential{{Type: "AsymmetricX509Cert", Usage: "Verify", Key: leaf.Raw}},
	}))
	issuer := "https://token.actions.githubusercontent.com"
	issuerKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	s.TrustIssuer(issuer, &issuerKey.PublicKey)
	_, err = directory.AddFederatedCredential(patient(t), s.client.ApplicationID, provision.FederatedCredential{
		Name: "ci-main", Issuer: issuer, Subject: "repo:contoso/caller", Audiences: []string{tokenclient.DefaultAssertionAudience},
	})
	require.NoError(t, err)
	assertion := func(subject string) tokenclient.Credential {
		return tokenclient.AssertionFunc(func(context.Context) (string, error) {
			return jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
				"iss": issuer, "sub": subject, "aud": tokenclient.DefaultAssertionAudience,
				"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
			}).SignedString(issuerKey)
		})
	}
	for name, c := range map[string]*tokenclient.Client{
		"secret":           s.as(t, s.secret(), nil),
		"secret in header": s.as(t, s.secret(), func(cfg *tokenclient.Config) { cfg.SecretInHeader = true }),
		"PS256":            s.as(t, tokenclient.Certificate(leaf, key), nil),
		"RS256":            s.as(t, tokenclient.Certificate(leaf, key), func(cfg *tokenclient.Config) { cfg.RS256 = true }),
		"federated":        s.as(t, assertion("repo:contoso/caller"), nil),
		"fallback":         s.as(t, tokenclient.Secret("last-years"), func(cfg *tokenclient.Config) { cfg.Fallback = s.secret() }),
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, []any{"Product.Starter.All"}, roles(t, mustToken(t, c.Source(s.scope))))
		})
	}
	stranger, other := newCertificate(t, time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
	assert.Equal(t, 700027, mustFail(t, s.as(t, tokenclient.Certificate(other, stranger), nil).Source(s.scope)).AADSTS)
	assert.Equal(t, 700213, mustFail(t, s.as(t, assertion("repo:evil/caller"), nil).Source(s.scope)).AADSTS)
}

// The common mistakes, as the tenant answers them, come with advice.
func TestEntraMistakes(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	unassigned, err := s.AddCaller("unassigned")
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		client *tokenclient.Client
		scope  string
		aadsts int
	}{
		"wrong secret":     {s.as(t, tokenclient.Secret("wrong"), nil), s.scope, 7000215},
		"unknown client":   {s.as(t, s.secret(), func(cfg *tokenclient.Config) { cfg.ClientID = "11111111-2222-4333-8444-555555555555" }), s.scope, 700016},
		"unknown resource": {s.as(t, s.secret(), nil), "api://11111111-2222-4333-8444-555555555555/.default", 500011},
		"not assigned": {s.as(t, tokenclient.Secret(unassigned.Secret.Reveal()), func(cfg *tokenclient.Config) {
			cfg.ClientID = unassigned.AppID
		}), s.scope, 501051},
	} {
		t.Run(name, func(t *testing.T) {
			e := mustFail(t, tt.client.Source(tt.scope))
			assert.Equal(t, tt.aadsts, e.AADSTS)
			assert.NotEmpty(t, e.Advice)
			assert.NotEmpty(t, e.Code)
			assert.NotEmpty(t, e.CorrelationID)
			assert.False(t, e.Retryable)
		})
	}
}

// The http.Client of a source calls Graph, whose own checks are passed.
func TestEntraGraphCall(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	admin, err := s.AddCaller("admin", entratest.ReadApplications)
	require.NoError(t, err)
	c := s.as(t, tokenclient.Secret(admin.Secret.Reveal()), func(cfg *tokenclient.Config) { cfg.ClientID = admin.AppID })
	transport, err := tokenclient.NewTransport(tokenclient.TransportConfig{
		Source: c.Source(s.GraphScope()), Hosts: []string{s.BaseURL()[len("https://"):]}, Base: s.Client().Transport,
	})
	require.NoError(t, err)
	resp, err := (&http.Client{Transport: transport}).Get(s.BaseURL() + "/v1.0/applications?$select=displayName")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.NoError(t, tokenclient.CheckResponse(resp))
	var list struct {
		Value []struct{ DisplayName string }
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&list))
	assert.NotEmpty(t, list.Value)
}

// Throttled, unavailable and cut off at first: the caller gets a token and
// never hears of it.
func TestEntraFaults(t *testing.T) {
	t.Parallel()
	for _, kind := range []entratest.FaultKind{entratest.ThrottleBare, entratest.UnavailableBefore, entratest.TimeoutAfter, entratest.CutBefore, entratest.CutAfter} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			var asked atomic.Int32
			s.OnRequest(func(r entratest.Request) entratest.Fault {
				if r.Service == entratest.TokenService && asked.Add(1) <= 2 {
					return entratest.Fault{Kind: kind}
				}
				return entratest.Fault{}
			})
			clk := &clock{now: time.Now()}
			c := s.as(t, s.secret(), func(cfg *tokenclient.Config) { cfg.Now, cfg.Sleep = clk.Now, clk.Sleep })
			mustToken(t, c.Source(s.scope))
			assert.EqualValues(t, 3, asked.Load())
			assert.Len(t, clk.sleeps(), 2)
		})
	}
}
