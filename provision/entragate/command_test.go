package main

import (
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/postgres"
	"github.com/entragate/entragate/internal/pgtest"
	"github.com/entragate/entragate/internal/schemacheck"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

func uniqueNamed(name string) []provision.AppRef { return []provision.AppRef{{UniqueName: name}} }

func (w *workplace) file(name string) string { return filepath.Join(w.dir, name) }

func TestEveryCommandHasHelp(t *testing.T) {
	t.Parallel()
	var list strings.Builder
	var o options
	known := o.flags(func(string) string { return "" })
	for _, c := range commands {
		for _, name := range c.flags {
			assert.NotNil(t, known.Lookup(name), "%s takes the flag -%s, which does not exist", c.name, name)
		}
		p := &program{out: &list, errOut: &list, getenv: func(string) string { return "" }}
		assert.Zero(t, p.run(t.Context(), append([]string{"help"}, strings.Fields(c.name)...)), c.name)
		assert.NotEmpty(t, c.help, c.name)
	}
	assert.NotContains(t, list.String(), "default false")
}

func TestAnInterruptStopsBetweenObjects(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	var stderr strings.Builder
	stop := make(chan struct{})
	var once sync.Once
	w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
		if r.Write {
			once.Do(func() { close(stop) })
		}
		return entratest.Fault{}
	})
	p := &program{in: strings.NewReader(""), out: &strings.Builder{}, errOut: &stderr, getenv: func(name string) string { return w.env[name] }, stop: stop}
	status := p.run(t.Context(), w.located([]string{"apply", "-create", "-config", w.file("plan-base.json"), "-quiet"}))
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr.String(), "application c1: stopped before the object was begun")
	assert.Len(t, w.tenant.State().Applications, 3+1, "the products that were under way are complete, and the pipeline's own") // see newWorkplace
	for _, a := range w.tenant.State().Applications {
		assert.Equal(t, 1, a.ServicePrincipals, a.Key)
	}
	w.tenant.OnRequest(nil)
	status, _, errOut := w.run("apply", "-config", w.file("plan-base.json"), "-quiet")
	assert.Zero(t, status, errOut)
	status, out, _ := w.run("plan", "-config", w.file("plan-base.json"), "-detailed-exitcode")
	assert.Zero(t, status, out)
}

func TestPostgreSQLIsAStoreLikeAnyOther(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	w.env["ENTRAGATE_STORE"] = pgtest.Schema(t)
	status, _, errOut := w.run("plan", "-config", w.file("plan-base.json"))
	assert.Equal(t, 1, status)
	assert.Contains(t, errOut, "-create")
	status, _, errOut = w.run("plan", "-create", "-config", w.file("plan-base.json"))
	assert.Zero(t, status, errOut)
	exists, err := postgres.Exists(t.Context(), w.env["ENTRAGATE_STORE"])
	require.NoError(t, err)
	assert.False(t, exists, "plan made tables")
	status, _, errOut = w.run("apply", "-create", "-quiet", "-config", w.file("plan-base.json"))
	require.Zero(t, status, errOut)
	status, out, _ := w.run("plan", "-config", w.file("plan-base.json"), "-detailed-exitcode")
	assert.Zero(t, status, out)
	status, _, errOut = w.run("backup", "check", w.env["ENTRAGATE_STORE"])
	assert.Zero(t, status, errOut)
}

// A machine with a managed identity needs no secret. The environment of azidentity
// is that of the process, so the test cannot run beside others.
func TestAManagedIdentityNeedsNoSecret(t *testing.T) {
	w := newWorkplace(t)
	managed, err := w.tenant.AddManagedIdentity("runner", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	endpoint, err := w.tenant.ManagedIdentityEndpoint(managed, "header")
	require.NoError(t, err)
	local := httptest.NewServer(endpoint)
	t.Cleanup(local.Close)
	t.Setenv("IDENTITY_ENDPOINT", local.URL)
	t.Setenv("IDENTITY_HEADER", "header")
	w.env = map[string]string{"ENTRAGATE_STORE": w.env["ENTRAGATE_STORE"]}
	status, out, errOut := w.run("plan", "-create", "-config", w.file("plan-base.json"), "-credential", "managed-identity")
	assert.Zero(t, status, errOut)
	assert.Contains(t, out, `as "runner"`)
}

func TestAMissingRoleIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	caller, err := w.tenant.AddCaller("weak")
	require.NoError(t, err)
	w.env["AZURE_CLIENT_ID"], w.env["AZURE_CLIENT_SECRET"] = caller.AppID, caller.Secret.Reveal()
	for _, command := range []string{"preflight", "apply -create -config " + w.file("plan-base.json")} {
		status, out, errOut := w.run(strings.Fields(command)...)
		assert.Equal(t, 1, status)
		assert.Contains(t, out+errOut, "Application Administrator")
		assert.Contains(t, out+errOut, "Privileged Role Administrator")
		assert.Contains(t, out+errOut, caller.ObjectID)
	}
	assert.Zero(t, w.tenant.Counts().Writes)
	w.env["AZURE_CLIENT_SECRET"] = "wrong"
	status, _, errOut := w.run("plan", "-create", "-config", w.file("plan-base.json"))
	assert.Equal(t, 1, status)
	assert.Contains(t, errOut, "AADSTS7000215")
}

func TestPlanAndDriftWriteNothing(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	config := w.file("one-client.json")
	run := func(expected int, args ...string) string {
		t.Helper()
		status, out, errOut := w.run(args...)
		require.Equal(t, expected, status, out+errOut)
		return out
	}
	out := run(2, "plan", "-create", "-config", config, "-detailed-exitcode")
	for _, planned := range []string{"APIMProductApplicationStarter", "APIMApplicationStarter", "2 to grant"} {
		assert.Contains(t, out, planned)
	}
	assert.Zero(t, w.tenant.Counts().Writes)
	assert.NoFileExists(t, w.env["ENTRAGATE_STORE"])

	run(0, "apply", "-create", "-config", config)
	assert.FileExists(t, w.env["ENTRAGATE_STORE"])
	assert.Positive(t, w.tenant.Counts().Writes)
	w.tenant.ResetCounts()
	assert.Contains(t, run(0, "apply", "-config", config), "In sync: 3 objects.")
	assert.Zero(t, w.tenant.Counts().Writes, "a second apply writes nothing")

	w.revokeByHand("billing")
	w.tenant.ResetCounts()
	assert.Contains(t, run(2, "drift", "-config", config, "-detailed-exitcode"), "1 to grant")
	assert.Zero(t, w.tenant.Counts().Writes)
	run(0, "apply", "-config", config)
	run(0, "drift", "-config", config, "-detailed-exitcode")
}

// A store whose name is mistyped is an error for every command that expects one, also
// with -create: an empty store has no drift and nothing to export.
func TestACommandThatNeedsAStoreDoesNotInventOne(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	for _, command := range []string{"drift", "export", "adopt -product p -client-id x", "secret list -application a", "secret add -application a -show", "explain -product p"} {
		status, _, errOut := w.run(append(strings.Fields(command), "-create")...)
		assert.Equal(t, 1, status, command)
		assert.Contains(t, errOut, "has no flag -create", command)
	}
	status, _, errOut := w.run("drift")
	assert.Equal(t, 1, status)
	assert.Contains(t, errOut, "does not exist")
	assert.NotContains(t, errOut, "-create")
}

// What a section of the document no longer holds is deleted only with -prune.
func TestPrune(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	status, _, errOut := w.run("apply", "-create", "-quiet", "-config", w.file("one-client.json"))
	require.Zero(t, status, errOut)
	require.NoError(t, os.WriteFile(w.file("empty.json"), []byte(`{"version": 1, "applications": []}`), 0o600))
	for _, step := range []struct {
		status   int
		args     string
		contains string
	}{
		{0, "plan", "Nothing to do"},
		{2, "plan -prune", "remove"},
		{2, "apply -prune", "In sync"},
		{0, "plan -prune", "Nothing to do"},
	} {
		status, out, errOut := w.run(append(strings.Fields(step.args), "-config", w.file("empty.json"), "-detailed-exitcode", "-quiet")...)
		require.Equal(t, step.status, status, step.args+out+errOut)
		assert.Contains(t, out, step.contains, step.args)
	}
	assert.Len(t, w.tenant.State().Deleted, 1)
}

func TestWrongSettingsAreNamed(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "bad.json")
	require.NoError(t, os.WriteFile(bad, []byte(`{"version": 1, "products": [{"id": "x", "name": "", "access": {"token": true, "key": false}}]}`), 0o600))
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		says string
	}{
		"no config":         {[]string{"-config", "/nonexistent.json"}, nil, "-config"},
		"no CA":             {[]string{"-ca", "/nonexistent.pem"}, nil, "-ca"},
		"a CA without PEM":  {[]string{"-ca", bad}, nil, "holds no PEM certificate"},
		"a bad document":    {[]string{"-config", bad}, nil, "products[0]"},
		"unknown cloud":     {[]string{"-cloud", "mars"}, nil, "-cloud"},
		"plain authority":   {[]string{"-authority", "http://login.example.com"}, nil, "-authority"},
		"plain Graph":       {[]string{"-graph", "http://graph.example.com"}, nil, "GraphURL"},
		"empty store":       {[]string{"-store", ""}, nil, "-store is missing"},
		"no folder":         {[]string{"-store", "/nonexistent/x.db"}, nil, "-store"},
		"bad instance":      {[]string{"-instance", "a-b"}, nil, "Instance"},
		"half a credential": {nil, map[string]string{"AZURE_TENANT_ID": ""}, "AZURE_TENANT_ID: not set"},
		"no credential":     {nil, map[string]string{"AZURE_CLIENT_SECRET": ""}, "AZURE_CLIENT_SECRET"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorkplace(t)
			maps.Copy(w.env, c.env)
			status, _, errOut := w.run(append([]string{"apply", "-create"}, c.args...)...)
			assert.Equal(t, 1, status)
			assert.Contains(t, errOut, c.says)
			assert.Zero(t, w.tenant.Counts().Writes)
		})
	}
}

func TestNewKeysAreReportedButNotPrinted(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	brought := appaccess.HashKey("a key from before").String()
	require.NoError(t, os.WriteFile(w.file("keys.json"), []byte(`{"version": 1, "subscriptions": [
		{"id": "new", "name": "New", "scope": "/apis", "state": "active"},
		{"id": "old", "name": "Old", "scope": "/apis", "state": "active", "primaryHash": "`+brought+`"}
	]}`), 0o600))
	status, out, errOut := w.run("apply", "-create", "-config", w.file("keys.json"))
	require.Zero(t, status, errOut)
	for _, reported := range []string{"subscription new has a primary key", "subscription new has a secondary key", "subscription old has a secondary key"} {
		assert.Contains(t, out, reported)
	}
	assert.NotContains(t, out, "subscription old has a primary key")
	assert.NotRegexp(t, appaccess.KeyPattern, out+errOut)
}

// The JSON output of plan, apply and drift keeps to the published schema.
func TestJSONOutputKeepsToItsSchema(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	schema, err := schemacheck.Parse(outputSchema)
	require.NoError(t, err)
	check := func(name string, args ...string) {
		t.Helper()
		status, out, errOut := w.run(append(args, "-json", "-quiet")...)
		require.Zero(t, status, errOut)
		assert.Empty(t, schema.Def(name).Violations(name, []byte(out)))
		assert.Empty(t, schema.Violations(name, []byte(out)))
	}
	check("plan", "plan", "-create", "-config", w.file("plan-hidden.json"))
	check("apply", "apply", "-create", "-config", w.file("plan-hidden.json"))
	check("plan", "plan", "-config", w.file("plan-base.json"), "-prune")
	w.revokeByHand("c1")
	check("drift", "drift", "-config", w.file("plan-base.json"))
	assert.NotEmpty(t, schema.Def("plan").Violations("plan", []byte(`{"version": 2}`)), "the check can fail")
}

func TestHelpPrintsThePublishedSchemas(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	for topic, schema := range map[string]string{"json": outputSchema, "document": appaccess.DocumentSchema()} {
		status, out, errOut := w.run("help", topic)
		require.Zero(t, status, errOut)
		assert.Equal(t, schema, out)
	}
}
