package main

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// The test binary is the command when it is told so: the tests run it as a
// process of its own, as a pipeline would.
func TestMain(m *testing.M) {
	if os.Getenv("ENTRA_TEST_AS_COMMAND") != "" {
		main()
	}
	os.Exit(m.Run())
}

// pipeline is a place to run the command in.
type pipeline struct {
	*testing.T
	*entratest.Server
	caller entratest.Caller
	store  string
	flags  []string
	env    []string
}

func newPipeline(t *testing.T, rights ...string) *pipeline {
	t.Helper()
	s := entratest.NewServer(t, entratest.Config{})
	caller, err := s.AddCaller("pipeline", rights...)
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	store := filepath.Join(dir, "entra.db")
	return &pipeline{t, s, caller, store,
		[]string{
			"-graph", s.BaseURL(), "-authority", s.Authority(), "-ca", write("ca.pem", s.CertificatePEM()),
			"-store", store, "-config", "products.json", // as the documentation has it
			"-lag", "100ms", // the tenant has none
		},
		[]string{"AZURE_TENANT_ID=" + s.ID(), "AZURE_CLIENT_ID=" + caller.AppID, "AZURE_CLIENT_SECRET=" + caller.Secret.Reveal()},
	}
}

// run runs the command and requires its exit status.
func (p *pipeline) run(want int, args ...string) (out, errOut string) {
	p.Helper()
	exe, err := os.Executable()
	require.NoError(p, err)
	cmd := p.command(exe, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(p, err)
	}
	require.Equal(p, want, cmd.ProcessState.ExitCode(), "stdout:\n%s\nstderr:\n%s", &stdout, &stderr)
	if !p.caller.Secret.IsZero() {
		assert.NotContains(p, stdout.String()+stderr.String(), p.caller.Secret.Reveal())
	}
	return stdout.String(), stderr.String()
}

func (p *pipeline) command(exe string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(p.Context(), exe, append(p.flags, args...)...)
	cmd.Env = append([]string{"ENTRA_TEST_AS_COMMAND=1", "HOME=" + p.TempDir(), "TMPDIR=" + p.TempDir()}, p.env...)
	return cmd
}

// TestKilled kills the process in the middle of a request to Graph, whose write
// is still done. The next run waits for nobody, since the one that held the
// objects is dead, and ends in the same state.
func TestKilled(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	require.NoError(t, err)
	want := newPipeline(t, entratest.ApplicationAdministrator)
	want.run(0, "apply")
	total := want.Counts().Writes
	require.Positive(t, total)
	for k := 1; k <= total; k += 3 {
		p := newPipeline(t, entratest.ApplicationAdministrator)
		cmd := p.command(exe, "apply")
		var writes atomic.Int64
		started := make(chan struct{})
		p.OnRequest(func(r entratest.Request) entratest.Fault {
			if r.Write && writes.Add(1) == int64(k) {
				<-started
				_ = cmd.Process.Kill()
			}
			return entratest.Fault{}
		})
		require.NoError(t, cmd.Start())
		close(started)
		require.Error(t, cmd.Wait(), "killed at write %d", k)
		p.OnRequest(nil)
		_, stderr := p.run(0, "apply")
		assert.NotContains(t, stderr, "wait for another", "after the kill at write %d", k)
		assert.Equal(t, len(want.State().Applications), len(p.State().Applications), "after the kill at write %d", k)
		before := p.writes()
		p.run(0, "apply")
		assert.Equal(t, before, p.writes(), "nothing was left to do after the kill at write %d", k)
	}
}

func (p *pipeline) writes() int { return p.Counts().Writes }

func TestPlanApplyDrift(t *testing.T) {
	t.Parallel()
	p := newPipeline(t, entratest.ApplicationAdministrator)

	out, _ := p.run(0, "plan")
	assert.Contains(t, out, "APIMProductApplicationStarter")
	assert.Contains(t, out, "APIMApplicationStarter")
	assert.Contains(t, out, "2 to grant")
	assert.Contains(t, out, "pipeline")
	assert.Zero(t, p.writes(), "plan writes nothing")
	assert.NoFileExists(t, p.store, "nor here")

	p.run(0, "apply")
	assert.FileExists(t, p.store)
	assert.Positive(t, p.writes())
	p.ResetCounts()
	out, _ = p.run(0, "apply")
	assert.Contains(t, out, "In step: 3 objects.")
	assert.Zero(t, p.writes(), "a second apply writes nothing")
	out, _ = p.run(0, "plan")
	assert.Contains(t, out, "Nothing to do")
	out, _ = p.run(0, "drift")
	assert.Contains(t, out, "Nothing to do")

	// Somebody takes a grant away by hand.
	admin := p.Directory(p.caller)
	apps, errs := admin.Applications(t.Context(), []provision.AppRef{{UniqueName: "entragate-default-application-billing"}})
	require.NoError(t, errs[0])
	sps, errs := admin.ServicePrincipals(t.Context(), []string{apps[0].AppID})
	require.NoError(t, errs[0])
	grants, errs := admin.Assignments(t.Context(), []string{sps[0].ObjectID})
	require.NoError(t, errs[0])
	require.Len(t, grants[0], 2)
	require.NoError(t, admin.Unassign(t.Context(), grants[0][0].ResourceID, grants[0][0].ID))

	p.ResetCounts()
	out, _ = p.run(3, "drift")
	assert.Contains(t, out, "1 to grant")
	assert.Zero(t, p.writes(), "drift writes nothing")
	p.run(0, "apply")
	p.run(0, "drift")
}

// A machine with a managed identity needs no secret.
func TestManagedIdentity(t *testing.T) {
	t.Parallel()
	p := newPipeline(t)
	managed, err := p.AddManagedIdentity("runner", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	endpoint, err := p.ManagedIdentityEndpoint(managed, "header")
	require.NoError(t, err)
	local := httptest.NewServer(endpoint)
	t.Cleanup(local.Close)
	p.env = []string{"IDENTITY_ENDPOINT=" + local.URL, "IDENTITY_HEADER=header"}
	out, _ := p.run(0, "apply")
	assert.Contains(t, out, "runner")
	out, _ = p.run(0, "plan")
	assert.Contains(t, out, "Nothing to do")
}

// What a section of the document no longer holds is removed only when asked.
func TestPrune(t *testing.T) {
	t.Parallel()
	p := newPipeline(t, entratest.ApplicationAdministrator)
	p.run(0, "apply")
	empty := filepath.Join(t.TempDir(), "empty.json")
	require.NoError(t, os.WriteFile(empty, []byte(`{"version": 1, "applications": []}`), 0o600))
	out, _ := p.run(0, "-config", empty, "plan")
	assert.Contains(t, out, "Nothing to do")
	out, _ = p.run(0, "-config", empty, "-prune", "plan")
	assert.Contains(t, out, "remove")
	p.run(0, "-config", empty, "-prune", "apply")
	assert.Len(t, p.State().Deleted, 1)
	out, _ = p.run(0, "-config", empty, "-prune", "plan")
	assert.Contains(t, out, "Nothing to do")
}

// The keys that a document's subscriptions get are not printed, but told of;
// those that the document brings are not.
func TestSubscriptions(t *testing.T) {
	t.Parallel()
	p := newPipeline(t, entratest.ApplicationAdministrator)
	config := filepath.Join(t.TempDir(), "subscriptions.json")
	require.NoError(t, os.WriteFile(config, []byte(`{"version": 1, "subscriptions": [
		{"id": "new", "name": "New", "scope": "/apis", "state": "active"},
		{"id": "old", "name": "Old", "scope": "/apis", "state": "active", "primarySum": "`+appaccess.SumKey("a key from before").String()+`"}
	]}`), 0o600))
	out, _ := p.run(0, "-config", config, "apply")
	for _, told := range []string{"subscription new has a primary key", "subscription new has a secondary key", "subscription old has a secondary key"} {
		assert.Contains(t, out, told)
	}
	assert.NotContains(t, out, "subscription old has a primary key")
	assert.NotRegexp(t, appaccess.KeyPattern, out)
	out, _ = p.run(0, "-config", config, "apply")
	assert.NotContains(t, out, "subscription")
}

// A caller without the role is told which one, whom to give it to, and who may
// assign it; nothing is written.
func TestWithoutTheRole(t *testing.T) {
	t.Parallel()
	p := newPipeline(t)
	_, errOut := p.run(1, "apply")
	assert.Contains(t, errOut, "Application Administrator")
	assert.Contains(t, errOut, "Privileged Role Administrator")
	assert.Contains(t, errOut, p.caller.ObjectID)
	assert.Zero(t, p.writes())
}

func TestWrongSecret(t *testing.T) {
	t.Parallel()
	p := newPipeline(t, entratest.ApplicationAdministrator)
	p.env[2] = "AZURE_CLIENT_SECRET=wrong"
	_, errOut := p.run(1, "plan")
	assert.Contains(t, errOut, "AADSTS7000215")
}

func TestWrongCalls(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "bad.json")
	require.NoError(t, os.WriteFile(bad, []byte(`{"version": 1, "products": [{"id": "x", "name": "", "access": {"token": true, "key": false}}]}`), 0o600))
	for name, c := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"no command":      {nil, 2, "usage"},
		"two commands":    {[]string{"plan", "apply"}, 2, "usage"},
		"unknown command": {[]string{"destroy"}, 2, "usage"},
		"unknown flag":    {[]string{"-x", "plan"}, 2, "usage"},
		"no config":       {[]string{"-config", "/nonexistent.json", "plan"}, 1, "-config"},
		"no CA":           {[]string{"-ca", "/nonexistent.pem", "plan"}, 1, "-ca"},
		"a bad document":  {[]string{"-config", bad, "plan"}, 1, "products[0]"},
		"unknown cloud":   {[]string{"-cloud", "mars", "plan"}, 1, "-cloud"},
		"plain authority": {[]string{"-authority", "http://login.example.com", "plan"}, 1, "-authority"},
		"plain Graph":     {[]string{"-graph", "http://graph.example.com", "plan"}, 1, "GraphURL"},
		"empty store":     {[]string{"-store", "", "plan"}, 1, "-store: must name a file"},
		"no store":        {[]string{"-store", "/nonexistent/x.db", "apply"}, 1, "-store"},
		"bad instance":    {[]string{"-instance", "a-b", "plan"}, 1, "Instance"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipeline(t, entratest.ApplicationAdministrator)
			_, errOut := p.run(c.status, c.args...)
			assert.Contains(t, errOut, c.says)
			assert.Zero(t, p.writes())
		})
	}
	t.Run("half an environment", func(t *testing.T) {
		t.Parallel()
		p := newPipeline(t)
		p.env = p.env[2:]
		_, errOut := p.run(1, "plan")
		assert.Contains(t, errOut, "AZURE_TENANT_ID")
	})
}
