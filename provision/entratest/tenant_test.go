package entratest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	for field, cfg := range map[string]entratest.Config{
		"TenantID":   {TenantID: "contoso"},
		"BaseURL":    {BaseURL: "https://entra.test/x"},
		"Lag":        {Lag: entratest.Lag{Min: 2, Max: 1}},
		"FaultRate":  {FaultRate: 2},
		"FaultKinds": {FaultKinds: []entratest.FaultKind{99}},
		"Replicas":   {Replicas: -1},
	} {
		_, err := entratest.New(cfg)
		assert.ErrorContains(t, err, "Config."+field)
	}
	tenant := newTenant(t, entratest.Config{})
	require.Error(t, tenant.SetBaseURL("nonsense"))
	assert.Equal(t, entratest.DefaultBaseURL, tenant.BaseURL())
	_, err := tenant.AddCaller("x", "Global Administrator")
	require.ErrorContains(t, err, "Application Administrator", "the error names what is known")
}

// TestSameSeedSameAnswers: two tenants that are asked alike answer alike, and
// another seed answers otherwise.
func TestSameSeedSameAnswers(t *testing.T) {
	t.Parallel()
	play := func(seed uint64) string {
		c := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		tenant := newTenant(t, entratest.Config{Seed: seed, Now: c.Now, FaultRate: 0.3})
		d := directory(t, tenant, entratest.ApplicationAdministrator)
		tenant.SetLag(entratest.Lag{Min: time.Second, Max: 20 * time.Second})
		for i := range 30 {
			name := fmt.Sprint("a", i%3)
			_, _ = create(t.Context(), d, name, provision.ApplicationPatch{DisplayName: &name})
			_, _ = d.Applications(t.Context(), []provision.AppRef{byName("a0"), byName("a1"), byName("a2")})
			c.Advance(time.Second)
		}
		var b strings.Builder
		for _, e := range tenant.Requests() {
			fmt.Fprintln(&b, e)
		}
		return b.String()
	}
	assert.Equal(t, play(1), play(1))
	assert.NotEqual(t, play(1), play(2))
}

func TestState(t *testing.T) {
	t.Parallel()
	build := func(seed uint64, reverse bool) *entratest.Tenant {
		tenant := newTenant(t, entratest.Config{Seed: seed})
		d := directory(t, tenant, entratest.ApplicationAdministrator)
		names := []string{"one", "two"}
		if reverse {
			names = []string{"two", "one"}
		}
		for _, name := range names {
			patch := productPatch()
			patch.DisplayName = &name
			a, err := create(t.Context(), d, name, patch)
			require.NoError(t, err)
			uris := []string{"api://" + a.AppID}
			require.NoError(t, d.PatchApplication(t.Context(), a.ObjectID, provision.ApplicationPatch{IdentifierURIs: &uris}))
			_, _, err = d.UpsertServicePrincipal(t.Context(), a.AppID, provision.ServicePrincipalPatch{})
			require.NoError(t, err)
			_, err = d.AddPassword(t.Context(), a.ObjectID, provision.PasswordRequest{DisplayName: fmt.Sprint("op", seed)})
			require.NoError(t, err)
		}
		return tenant
	}
	a, b := build(1, false), build(2, true)
	assert.Equal(t, a.State().String(), b.State().String(), "IDs, order and names of secrets do not count")
	_, err := b.AddSecret(b.State().Applications[1].AppID, "one more")
	require.NoError(t, err)
	assert.NotEqual(t, a.State().String(), b.State().String(), "the number of secrets does")
	app := a.State().Applications[2]
	assert.Equal(t, "two", app.Key)
	assert.Equal(t, []string{"api://{appId}"}, app.URIs)
	assert.Equal(t, []string{"Product.Starter.All"}, app.Roles)
	require.Len(t, app.Passwords, 1)
	assert.Equal(t, "op1", app.Passwords[0].DisplayName)
}

// fake replaces a *testing.T in a test that must fail.
type fake struct {
	*testing.T
	errors   []string
	cleanups []func()
}

func (f *fake) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}
func (f *fake) Cleanup(c func()) { f.cleanups = append(f.cleanups, c) }

func TestMisuseFailsTheTest(t *testing.T) {
	t.Parallel()
	f := &fake{T: t}
	var told []string
	s := entratest.NewServer(f, entratest.Config{OnMisuse: func(m string) { told = append(told, m) }})
	for range 2 {
		resp, err := s.Client().Get(s.BaseURL() + "/v1.0/applications")
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	}
	for _, c := range f.cleanups {
		c()
	}
	assert.Equal(t, []string{"GET /v1.0/applications without an access token"}, told)
	require.Len(t, f.errors, 1)
	assert.Contains(t, f.errors[0], told[0])
}

func TestEarlyRetryIsCounted(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	tenant := newTenant(t, entratest.Config{Now: c.Now})
	d := directory(t, tenant, entratest.ApplicationAdministrator)
	try := func() {
		_, _ = create(t.Context(), d, "x", provision.ApplicationPatch{DisplayName: ref("x")})
	}
	tenant.FailAt(1, entratest.Fault{Kind: entratest.Throttle, RetryAfter: 5 * time.Second})
	tenant.FailAt(2, entratest.Fault{Kind: entratest.Throttle, RetryAfter: 5 * time.Second})
	try()
	c.Advance(5 * time.Second)
	try()
	assert.Zero(t, tenant.Counts().Early)
	c.Advance(4 * time.Second)
	try()
	assert.Equal(t, 1, tenant.Counts().Early)
	assert.Equal(t, 2, tenant.Counts().Faults)
}

// TestLogHoldsNoSecret reads everything that is recorded of a secret's life.
func TestLogHoldsNoSecret(t *testing.T) {
	t.Parallel()
	s := newShop(t, entratest.Config{}, starter)
	_, _ = s.ask(t, s.form(s.client))
	d := directory(t, s.Tenant, entratest.ApplicationAdministrator)
	p, err := d.AddPassword(t.Context(), s.client.ApplicationID, provision.PasswordRequest{DisplayName: "op"})
	require.NoError(t, err)
	log := fmt.Sprintf("%+v %v %+v %#v", s.Requests(), s.Requests(), s.State(), s.client)
	require.Contains(t, log, "/addPassword")
	require.Contains(t, log, "/oauth2/v2.0/token")
	assert.NotContains(t, log, s.client.Secret.Reveal())
	assert.NotContains(t, log, p.SecretText.Reveal())
}

func TestFaultsAtOtherServices(t *testing.T) {
	t.Parallel()
	s := newShop(t, entratest.Config{}, starter)
	s.OnRequest(func(r entratest.Request) entratest.Fault {
		switch r.Service {
		case entratest.TokenService:
			return entratest.Fault{Kind: entratest.Throttle, RetryAfter: 3 * time.Second}
		case entratest.KeysService:
			return entratest.Fault{Kind: entratest.CutBefore}
		}
		return entratest.Fault{}
	})
	resp, err := s.Client().PostForm(s.TokenURL(), s.form(s.client))
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
	assert.Equal(t, "3", resp.Header.Get("Retry-After"))
	_, err = s.Client().Get(s.KeysURL())
	require.Error(t, err)
	_, err = (&http.Client{Transport: s.Transport()}).Get(s.KeysURL())
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	s.OnRequest(nil)
	status, _ := s.ask(t, s.form(s.client))
	assert.Equal(t, http.StatusOK, status)
}

func TestTransportIsForTheTenantOnly(t *testing.T) {
	t.Parallel()
	tenant := newTenant(t, entratest.Config{})
	_, err := (&http.Client{Transport: tenant.Transport()}).Get("https://elsewhere.example/")
	require.ErrorContains(t, err, "is not the tenant")
}

// TestLatencyInSimulatedTime: synctest can drive an in-process tenant.
func TestLatencyInSimulatedTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant := newTenant(t, entratest.Config{Latency: time.Minute})
		client := &http.Client{Transport: tenant.Transport()}
		start := time.Now()
		resp, err := client.Get(tenant.KeysURL())
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, time.Minute, time.Since(start))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, tenant.KeysURL(), nil)
		require.NoError(t, err)
		_, err = client.Do(req)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// TestConcurrentUse lets every kind of method run against every other; the race
// detector and the final state judge.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	tenant := newTenant(t, entratest.Config{FaultRate: 0.2, Lag: entratest.Lag{Max: time.Millisecond}})
	admin, err := tenant.AddCaller("admin", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	d := tenant.Directory(admin)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			name := fmt.Sprint("app", i%4)
			for {
				_, err := create(t.Context(), d, name, provision.ApplicationPatch{DisplayName: &name})
				if err == nil {
					return
				}
				var api *provision.APIError
				if errors.As(err, &api) && api.Status < 429 {
					assert.ErrorContains(t, err, "already exists")
					return
				}
			}
		})
		wait.Go(func() {
			if i == 0 {
				tenant.RotateKeys()
			}
			_ = tenant.MintToken(nil, nil)
			tenant.RetireKeys()
			_, _ = tenant.State(), tenant.Counts()
			_, _, _ = tenant.Requests(), tenant.Misuses(), tenant.Settled()
		})
	}
	wait.Wait()
	assert.Len(t, tenant.State().Applications, 5)
}
