// Package directorytest is the conformance suite for provision.Directory. [RunOn] tests a
// Directory with any tenant, including a real one. [Run] also tests what only the local
// tenant of package entratest supports: faults, lag, policies, long lists and the number
// of requests.
package directorytest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// Open makes a Directory that calls a tenant with the identity of c. The tenant is served
// over TLS. An implementation in process may use it without a connection.
type Open func(t *testing.T, s *entratest.Server, c entratest.Caller) provision.Directory

// Run tests the implementation that open makes. Each test has its own tenant, which fails
// the test if it gets a request that a correct client does not send.
func Run(t *testing.T, open Open) {
	for name, test := range tests() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(bench{t, open})
		})
	}
}

// tests returns all tests by name.
func tests() map[string]func(bench) {
	all := map[string]func(bench){}
	for _, table := range []map[string]func(bench){applications, principals, credentials, trouble} {
		for name, test := range table {
			if all[name] != nil {
				panic("directorytest: two tests are named " + name)
			}
			all[name] = test
		}
	}
	return all
}

// bench is the argument of each test.
type bench struct {
	*testing.T
	open Open
}

// place is a tenant, and a Directory that calls it.
type place struct {
	bench
	*entratest.Server
	d provision.Directory
}

// tenant starts a tenant whose caller is an Application Administrator.
func (b bench) tenant(cfg entratest.Config) place {
	return b.tenantFor(cfg, entratest.ApplicationAdministrator)
}

// tenantFor starts a tenant whose caller has these rights.
func (b bench) tenantFor(cfg entratest.Config, rights ...string) place {
	b.Helper()
	s := entratest.NewServer(b.T, cfg)
	caller, err := s.AddCaller("provisioner", rights...)
	require.NoError(b, err)
	return place{b, s, b.open(b.T, s, caller)}
}

// create creates an application.
func (p place) create(uniqueName string, patch provision.ApplicationPatch) provision.Application {
	p.Helper()
	if patch.DisplayName == nil {
		patch.DisplayName = new(uniqueName)
	}
	patch.UniqueName = &uniqueName
	app, err := p.d.CreateApplication(p.Context(), patch)
	require.NoError(p, err)
	return app
}

// service creates an application with its service principal.
func (p place) service(uniqueName string, patch provision.ApplicationPatch) (provision.Application, provision.ServicePrincipal) {
	p.Helper()
	app := p.create(uniqueName, patch)
	sp, created, err := p.d.UpsertServicePrincipal(p.Context(), app.AppID, provision.ServicePrincipalPatch{})
	require.NoError(p, err)
	require.True(p, created)
	return app, sp
}

func (p place) read(ref provision.AppRef) provision.Application {
	p.Helper()
	apps, errs := p.d.Applications(p.Context(), []provision.AppRef{ref})
	require.NoError(p, errs[0])
	return apps[0]
}

// refused requires an APIError with a status and a code, and returns it.
func refused(t testing.TB, err error, status int, code string) *provision.APIError {
	t.Helper()
	var api *provision.APIError
	require.ErrorAs(t, err, &api)
	assert.Equal(t, status, api.Status, "%v", api)
	assert.Equal(t, code, api.Code, "%v", api)
	assert.NotEmpty(t, api.Message)
	assert.NotEmpty(t, api.RequestID, "%v", api)
	return api
}

// unknown requires an error after which the caller cannot know whether the call had an
// effect.
func unknown(t testing.TB, err error) {
	t.Helper()
	require.Error(t, err)
	var api *provision.APIError
	assert.False(t, errors.As(err, &api), "%v is an APIError", err)
}

const (
	badRequest = "Request_BadRequest"
	notFound   = "Request_ResourceNotFound"
	nobody     = "99999999-9999-4999-8999-999999999999" // no object has this ID
)

// role returns an enabled app role for applications.
func role(value string) provision.AppRole {
	return provision.AppRole{
		ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(value)).String(), Value: value, DisplayName: value,
		Description: "may " + value, Enabled: true, AllowedMemberTypes: []string{"Application"},
	}
}

func roles(r ...provision.AppRole) *[]provision.AppRole { return &r }

func list(s ...string) *[]string { return &s }

// sameTime compares with a tolerance of one second, because Graph stores whole seconds.
func sameTime(t testing.TB, want, got time.Time) {
	t.Helper()
	assert.WithinDuration(t, want, got, time.Second)
}

func numbered(prefix string, i int) string { return fmt.Sprintf("%s-%03d", prefix, i) }
