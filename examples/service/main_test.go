package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision/entratest"
)

const (
	appID    = "55556666-ffff-7777-aaaa-8888bbbb9999"
	clientID = "00001111-aaaa-2222-bbbb-3333cccc4444"
)

// start runs the service as main does and returns its address. The test ends
// it, and it must end well.
func start(t *testing.T, tenant *entratest.Server, env map[string]string, stderr io.Writer) string {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, tenant.CertificatePEM(), 0o600))
	env["AZURE_TENANT_ID"], env["AZURE_AUTHORITY_HOST"] = tenant.ID(), tenant.Authority() // with the tenant
	env["PRODUCT_APPLICATION_ID"], env["PRODUCT_ROLE"], env["ADDR"] = appID, "Product.Starter.All", "127.0.0.1:0"
	ctx, stop := context.WithCancel(t.Context())
	addr := make(chan net.Addr, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-ca", ca}, func(k string) string { return env[k] }, io.Discard, stderr, func(a net.Addr) { addr <- a })
	}()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-ended)
	})
	select {
	case a := <-addr:
		return "http://" + a.String()
	case err := <-ended:
		ended <- nil
		require.NoError(t, err)
		return ""
	}
}

// client has connections of its own, which no other test's server closes.
var client = &http.Client{Transport: &http.Transport{}}

func call(t *testing.T, url string, header ...string) (int, string) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestService(t *testing.T) {
	t.Parallel()
	tenant := entratest.NewServer(t, entratest.Config{})
	url := start(t, tenant, map[string]string{"SUBSCRIPTION_KEY_SHA256": appaccess.HashKey("right").String()}, io.Discard)
	token := tenant.MintToken(map[string]any{"aud": appID, "azp": clientID, "roles": []string{"Product.Starter.All"}}, nil)

	status, body := call(t, url+"/hello", "Authorization", "Bearer "+token)
	assert.Equal(t, 200, status)
	assert.Equal(t, "hello, "+clientID+"\n", body)
	status, body = call(t, url+"/hello", "Ocp-Apim-Subscription-Key", "right")
	assert.Equal(t, 200, status)
	assert.Equal(t, "hello, key\n", body)
	for _, header := range [][]string{nil, {"Authorization", "Bearer x"}, {"Ocp-Apim-Subscription-Key", "wrong"}} {
		status, _ = call(t, url+"/hello", header...)
		assert.Equal(t, 401, status, header)
	}
	status, _ = call(t, url+"/nothing")
	assert.Equal(t, 401, status, "also where nothing is")
	assert.Eventually(t, func() bool { status, _ := call(t, url+"/ready"); return status == 200 }, 20*time.Second, 10*time.Millisecond)
}

// What -new-key prints is a key and the sum that lets it pass.
func TestNewKey(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-new-key"}, func(string) string { return "" }, &out, io.Discard, nil))
	key := regexp.MustCompile(appaccess.KeyPattern).FindString(out.String())
	require.NotEmpty(t, key)
	_, sum, _ := strings.Cut(out.String(), "SUBSCRIPTION_KEY_SHA256=")
	url := start(t, entratest.NewServer(t, entratest.Config{}), map[string]string{"SUBSCRIPTION_KEY_SHA256": strings.TrimSpace(sum)}, io.Discard)
	status, body := call(t, url+"/hello", "Ocp-Apim-Subscription-Key", key)
	assert.Equal(t, 200, status)
	assert.Equal(t, "hello, key\n", body)
}

// In report-only mode everything passes, and the log says what would not.
func TestReportOnly(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	url := start(t, entratest.NewServer(t, entratest.Config{}), map[string]string{"REPORT_ONLY": "true"}, &log)
	for _, header := range [][]string{nil, {"Authorization", "Bearer x"}} {
		status, body := call(t, url+"/hello", header...)
		assert.Equal(t, 200, status)
		assert.Equal(t, "hello, unknown caller\n", body)
	}
	refusals := 0
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "would be refused") && strings.Contains(line, "path=/hello") {
			refusals++
		}
	}
	assert.Equal(t, 2, refusals, "with a token and without: %s", log.String())
}

// What is missing is named.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	full := map[string]string{"AZURE_TENANT_ID": entratest.DefaultTenantID, "PRODUCT_APPLICATION_ID": appID, "PRODUCT_ROLE": "r"}
	for name, names := range map[string]string{"AZURE_TENANT_ID": "Tenants", "PRODUCT_APPLICATION_ID": "Audiences", "PRODUCT_ROLE": "Role"} {
		err := run(t.Context(), nil, func(k string) string {
			if k == name {
				return ""
			}
			return full[k]
		}, io.Discard, io.Discard, nil)
		assert.ErrorContains(t, err, names)
	}
	assert.Error(t, run(t.Context(), []string{"-x"}, os.Getenv, io.Discard, io.Discard, nil))
	full["SUBSCRIPTION_KEY_SHA256"] = strings.Repeat("a", 66)
	assert.ErrorContains(t, run(t.Context(), nil, func(k string) string { return full[k] }, io.Discard, io.Discard, nil), "SUBSCRIPTION_KEY_SHA256")
	assert.Error(t, run(t.Context(), []string{"-ca", "/nowhere"}, func(k string) string { return "" }, io.Discard, io.Discard, nil))
}
