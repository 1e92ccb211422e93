package entratest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/loopback"
	"github.com/entragate/entragate/internal/race"
	"github.com/entragate/entragate/provision/entratest"
)

// foreignTime bounds one run of a foreign program. Loading Microsoft's command
// lines from a cold disk takes most of a minute on a busy machine.
const foreignTime = 3 * time.Minute

// foreign is a program that is not ours, and the environment that leads it to the
// tenant.
type foreign struct {
	path string
	env  []string
}

// newForeign finds a program; the test is skipped if it is not installed, or fails
// if ENTRAGATE_TEST_REQUIRE is 1 and ENTRAGATE_TEST_FOREIGN is not skip. The program's home is a new folder.
func newForeign(t *testing.T, name string) *foreign {
	t.Helper()
	if race.Enabled {
		t.Skip("the client runs in another process")
	}
	path, err := exec.LookPath(name)
	if err != nil {
		notInstalled(t, name)
	}
	return &foreign{path, append(os.Environ(), "HOME="+t.TempDir())}
}

func notInstalled(t *testing.T, name string) {
	t.Helper()
	if os.Getenv("ENTRAGATE_TEST_REQUIRE") == "1" && os.Getenv("ENTRAGATE_TEST_FOREIGN") != "skip" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
}

// run returns what the program prints. The arguments may hold a secret, so a
// failure names only the first two.
func (f *foreign) run(t *testing.T, input string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), foreignTime)
	defer cancel()
	var failure bytes.Buffer
	cmd := exec.CommandContext(ctx, f.path, args...)
	cmd.Env, cmd.Stdin, cmd.Stderr = f.env, strings.NewReader(input), &failure
	cmd.WaitDelay = time.Second
	began := time.Now()
	out, err := cmd.Output()
	name := filepath.Base(f.path) + " " + strings.Join(args[:min(2, len(args))], " ")
	require.NoError(t, err, "%s: %s%s", name, out, failure.Bytes())
	t.Logf("%s: %v", name, time.Since(began).Round(time.Millisecond))
	return out
}

// microsoft is a tenant with the host names that are built into Microsoft's programs,
// a Resource Manager without subscriptions, and a proxy that leads there.
type microsoft struct {
	*entratest.Server
	caller    entratest.Caller
	proxy     string
	authority string // file of the certificates to trust
}

func newMicrosoft(t *testing.T) *microsoft {
	t.Helper()
	c := &microsoft{Server: entratest.NewServer(t, entratest.Config{
		BaseURL: "https://login.microsoftonline.com", STSURL: "https://sts.windows.net", GraphURL: "https://graph.microsoft.com",
	})}
	var err error
	c.caller, err = c.AddCaller("foreign", entratest.ApplicationAdministrator)
	require.NoError(t, err)

	ca, err := loopback.NewCA("management.azure.com")
	require.NoError(t, err)
	arm, err := loopback.Serve(ca, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/subscriptions" {
			http.Error(w, "expected /subscriptions", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"value":[],"count":{"type":"Total","value":0}}`)
	}))
	require.NoError(t, err)
	t.Cleanup(func() { _ = arm.Close() })

	c.authority = filepath.Join(t.TempDir(), "authorities.pem")
	require.NoError(t, os.WriteFile(c.authority, append(c.CertificatePEM(), ca.PEM()...), 0o600))
	proxy, err := loopback.ServeProxy(map[string]string{
		"login.microsoftonline.com:443": c.Address(), "graph.microsoft.com:443": c.Address(),
		"management.azure.com:443": strings.TrimPrefix(arm.URL, "https://"),
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = proxy.Close() })
	c.proxy = proxy.URL
	return c
}

// through adds what leads a program to these services; trust is the variable that names
// the file of trusted certificates.
func (f *foreign) through(c *microsoft, trust string, more ...string) {
	f.env = append(f.env, trust+"="+c.authority, "HTTPS_PROXY="+c.proxy, "https_proxy="+c.proxy,
		"HTTP_PROXY="+c.proxy, "http_proxy="+c.proxy, "NO_PROXY=", "no_proxy=")
	f.env = append(f.env, more...)
}

// registered returns the display name of an application, or "" if it does not exist.
func registered(s *entratest.Server, appID string) string {
	for _, a := range s.State().Applications {
		if a.AppID == appID {
			return a.DisplayName
		}
	}
	return ""
}

// msal-node gets the token with which a script creates, reads and deletes an
// application.
func TestMSALNode(t *testing.T) {
	t.Parallel()
	node := newForeign(t, "node")
	find := exec.Command(node.path, "-e", "require.resolve('@azure/msal-node')")
	if find.Run() != nil {
		notInstalled(t, "@azure/msal-node (searched for in NODE_PATH)")
	}
	s := entratest.NewServer(t, entratest.Config{})
	caller, err := s.AddCaller("script", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	authority := filepath.Join(t.TempDir(), "authority.pem")
	require.NoError(t, os.WriteFile(authority, s.CertificatePEM(), 0o600))
	node.env = append(node.env, "NODE_EXTRA_CA_CERTS="+authority)
	var app struct{ AppID, DisplayName string }
	out := node.run(t, caller.Secret.Reveal(), "testdata/application.js", s.Authority(), s.GraphURL(), caller.AppID)
	require.NoError(t, json.Unmarshal(out, &app), "%s", out)
	assert.NotEmpty(t, app.AppID)
	assert.Equal(t, "By msal-node", app.DisplayName)
	assert.Empty(t, registered(s, app.AppID))
}

// Azure CLI signs in as a service principal and creates, reads and deletes an
// application.
func TestAzureCLI(t *testing.T) {
	t.Parallel()
	az := newForeign(t, "az")
	c := newMicrosoft(t)
	_, err := c.AddApplication(entratest.App{Name: "Windows Azure Service Management API", URIs: []string{"https://management.core.windows.net/"}})
	require.NoError(t, err)
	az.through(c, "REQUESTS_CA_BUNDLE", "AZURE_CONFIG_DIR="+t.TempDir(), "AZURE_CORE_COLLECT_TELEMETRY=no",
		"AZURE_CORE_ONLY_SHOW_ERRORS=yes", "AZURE_CORE_OUTPUT=json")
	az.run(t, "", "login", "--service-principal", "--username", c.caller.AppID, "--password", c.caller.Secret.Reveal(),
		"--tenant", c.ID(), "--allow-no-subscriptions")
	var made, read struct{ AppID, DisplayName string }
	out := az.run(t, "", "ad", "app", "create", "--display-name", "By az")
	require.NoError(t, json.Unmarshal(out, &made), "%s", out)
	id := made.AppID
	assert.Equal(t, "By az", registered(c.Server, id))
	out = az.run(t, "", "ad", "app", "show", "--id", id)
	require.NoError(t, json.Unmarshal(out, &read), "%s", out)
	assert.Equal(t, "By az", read.DisplayName)
	az.run(t, "", "ad", "app", "delete", "--id", id)
	assert.Empty(t, registered(c.Server, id))
}

// CLI for Microsoft 365 creates, reads and deletes an application.
func TestCLIForMicrosoft365(t *testing.T) {
	t.Parallel()
	m365 := newForeign(t, "m365")
	c := newMicrosoft(t)
	m365.through(c, "NODE_EXTRA_CA_CERTS", "CLIMICROSOFT365_NOUPDATE=1")
	m365.run(t, "", "cli", "config", "set", "--key", "disableTelemetry", "--value", "true")
	m365.run(t, "", "login", "--authType", "secret", "--appId", c.caller.AppID, "--tenant", c.ID(), "--secret", c.caller.Secret.Reveal())
	var made, read struct{ AppID, DisplayName string }
	out := m365.run(t, "", "entra", "app", "add", "--name", "By m365", "--output", "json")
	require.NoError(t, json.Unmarshal(out, &made), "%s", out)
	id := made.AppID
	assert.Equal(t, "By m365", registered(c.Server, id))
	out = m365.run(t, "", "entra", "app", "get", "--appId", id, "--output", "json")
	require.NoError(t, json.Unmarshal(out, &read), "%s", out)
	assert.Equal(t, "By m365", read.DisplayName)
	m365.run(t, "", "entra", "app", "remove", "--appId", id, "--force")
	assert.Empty(t, registered(c.Server, id))
}
