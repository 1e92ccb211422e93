package readme_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
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

// public is a local tenant under Microsoft's host names with a product and a client.
type public struct {
	*entratest.Server
	product, client entratest.Registration
	secret          string
}

func newPublic(t *testing.T) *public {
	t.Helper()
	if race.Enabled {
		t.Skip("the programs run in other processes")
	}
	p := &public{Server: entratest.NewServer(t, entratest.Config{
		BaseURL: "https://login.microsoftonline.com", STSURL: "https://sts.windows.net", GraphURL: "https://graph.microsoft.com",
	})}
	var err error
	p.product, err = p.AddApplication(entratest.App{Name: "Starter", Roles: []string{"Product.Starter.All"}, AssignmentRequired: true})
	require.NoError(t, err)
	p.client, err = p.AddApplication(entratest.App{Name: "Order sync"})
	require.NoError(t, err)
	require.NoError(t, p.Grant(p.client.AppID, p.product.AppID, "Product.Starter.All"))
	secret, err := p.AddSecret(p.client.AppID, "test")
	require.NoError(t, err)
	p.secret = secret.Reveal()
	return p
}

// environment leads a program's connections to a local proxy.
func environment(t *testing.T, addresses map[string]string, more ...string) []string {
	t.Helper()
	proxy, err := loopback.ServeProxy(addresses)
	require.NoError(t, err)
	t.Cleanup(func() { _ = proxy.Close() })
	return append(os.Environ(), append(more, "HTTPS_PROXY="+proxy.URL, "NO_PROXY=")...)
}

// freeAddress returns a loopback address that nothing listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// start builds the program of a folder and runs it until the test ends. The returned
// function stops it and returns what it printed.
func start(t *testing.T, folder string, env []string, args ...string) (output func() string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-o", program, ".")
	build.Dir, build.Env = folder, append(os.Environ(), "GOPROXY=off", "GOWORK=off")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	ctx, cancel := context.WithCancel(t.Context())
	var printed bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &printed, &printed
	require.NoError(t, cmd.Start())
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	t.Cleanup(func() { cancel(); <-done })
	return func() string { <-done; return printed.String() }
}

// A service owner copies README's program into a module of their own, fills in the
// tenant ID and the application ID, and has a protected route.
func TestAServiceOwnerFollowsTheREADME(t *testing.T) {
	t.Parallel()
	p := newPublic(t)
	code := goBlock.FindStringSubmatch(read(t, root+"README.md"))[1]
	address := freeAddress(t)
	for placeholder, value := range map[string]string{"<tenant ID>": p.ID(), "<application ID>": p.product.AppID, "localhost:8080": address} {
		require.Contains(t, code, placeholder)
		code = strings.ReplaceAll(code, placeholder, value)
	}
	clone, err := filepath.Abs(root)
	require.NoError(t, err)
	folder := t.TempDir()
	for name, content := range map[string]string{
		"main.go": code,
		"go.sum":  read(t, root+"go.sum"),
		"go.mod": "module example.com/orders\n\ngo 1.26\n\nrequire github.com/entragate/entragate v0.0.0\n\n" +
			"replace github.com/entragate/entragate => " + clone + "\n",
		"authority.pem": string(p.CertificatePEM()),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600))
	}
	start(t, folder, environment(t, map[string]string{"login.microsoftonline.com:443": p.Address()}, "SSL_CERT_FILE="+filepath.Join(folder, "authority.pem")))

	call := func(authorization string) (status int, challenge, body string) {
		var resp *http.Response
		require.Eventually(t, func() bool {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/echo/resource", nil)
			require.NoError(t, err)
			if authorization != "" {
				req.Header.Set("Authorization", authorization)
			}
			resp, err = (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
			return err == nil && resp.StatusCode != http.StatusServiceUnavailable
		}, 20*time.Second, 20*time.Millisecond)
		defer resp.Body.Close()
		content, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, resp.Header.Get("WWW-Authenticate"), string(content)
	}
	status, challenge, _ := call("")
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.Contains(t, challenge, p.product.AppID+"/.default", "the scope to ask for")
	status, _, body := call("Bearer " + p.token(t))
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "hello "+p.client.AppID+"\n", body)

	// A new registration issues version 1 tokens for the scope that the challenge names.
	claims, err := p.AppClaims(p.client.AppID, p.product.AppID)
	require.NoError(t, err)
	claims["iss"], claims["ver"], claims["aud"] = "https://sts.windows.net/"+p.ID()+"/", "1.0", "api://"+p.product.AppID
	claims["appid"] = p.client.AppID
	delete(claims, "azp")
	status, _, body = call("Bearer " + p.MintToken(claims, nil))
	assert.Equal(t, http.StatusOK, status, body)
}

// token gets a token of the client for the product.
func (p *public) token(t *testing.T) string {
	t.Helper()
	claims, err := p.AppClaims(p.client.AppID, p.product.AppID)
	require.NoError(t, err)
	return p.MintToken(claims, nil)
}

// A caller's machine reaches login.microsoftonline.com and the API only through a
// proxy that decrypts TLS. With the proxy's certificate authority, examples/caller
// gets its token and calls the API; without it the error names the cause.
func TestACallerBehindAProxyThatDecryptsTLS(t *testing.T) {
	t.Parallel()
	p := newPublic(t)
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprint(w, "hello")
	})
	company, err := loopback.NewCA("login.microsoftonline.com", "api.contoso.com")
	require.NoError(t, err)
	login := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: "login.microsoftonline.com"})
	transport := &http.Transport{TLSClientConfig: p.TLSConfig(), DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, p.Address())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	login.Transport = transport
	inspector, err := loopback.Serve(company, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "api.contoso.com" {
			api(w, r)
			return
		}
		login.ServeHTTP(w, r)
	}))
	require.NoError(t, err)
	t.Cleanup(func() { _ = inspector.Close() })

	folder := t.TempDir()
	secret, authority := filepath.Join(folder, "secret"), filepath.Join(folder, "company.pem")
	require.NoError(t, os.WriteFile(secret, []byte(p.secret), 0o600))
	require.NoError(t, os.WriteFile(authority, company.PEM(), 0o600))
	address := strings.TrimPrefix(inspector.URL, "https://")
	env := environment(t, map[string]string{"login.microsoftonline.com:443": address, "api.contoso.com:443": address},
		"AZURE_TENANT_ID="+p.ID(), "AZURE_CLIENT_ID="+p.client.AppID, "AZURE_CLIENT_SECRET_FILE="+secret, "SCOPE="+p.product.AppID+"/.default")
	assert.Equal(t, "200 OK\nhello\n", start(t, root+"examples/caller", env, "-ca", authority, "https://api.contoso.com/echo")())
	assert.Contains(t, start(t, root+"examples/caller", env, "https://api.contoso.com/echo")(), "not trusted")
}
