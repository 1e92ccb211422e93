package tokenclient_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/tokenclient"
)

func TestFromEnvironment(t *testing.T) {
	t.Parallel()
	for want, env := range map[string]map[string]string{
		"secret from file /run/s":        {"AZURE_CLIENT_SECRET_FILE": "/run/s", "AZURE_CLIENT_SECRET": "x"},
		"secret":                         {"AZURE_CLIENT_SECRET": "x", "AZURE_CLIENT_CERTIFICATE_PATH": "/c.pem"},
		"certificate from file /c.pem":   {"AZURE_CLIENT_CERTIFICATE_PATH": "/c.pem", "AZURE_FEDERATED_TOKEN_FILE": "/t"},
		"certificate from file /c.pfx":   {"AZURE_CLIENT_CERTIFICATE_PATH": "/c.pfx", "AZURE_CLIENT_CERTIFICATE_PASSWORD": "hush"},
		"assertion from file /var/run/t": {"AZURE_FEDERATED_TOKEN_FILE": "/var/run/t"},
	} {
		env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"], env["AZURE_AUTHORITY_HOST"] = tenant, clientID, "https://login.contoso.com"
		cfg, err := tokenclient.FromEnvironment(func(name string) string { return env[name] })
		require.NoError(t, err, want)
		assert.Equal(t, want, cfg.Credential.String())
		assert.Equal(t, []string{tenant, clientID, "https://login.contoso.com"}, []string{cfg.TenantID, cfg.ClientID, cfg.Authority})
		for _, name := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID"} {
			_, err = tokenclient.FromEnvironment(func(n string) string {
				if n == name {
					return ""
				}
				return env[n]
			})
			assert.ErrorContains(t, err, name)
		}
	}
	_, err := tokenclient.FromEnvironment(func(name string) string {
		return map[string]string{"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": clientID}[name]
	})
	assert.ErrorContains(t, err, "AZURE_CLIENT_SECRET")
}

// Files as openssl writes them.
func TestEncryptedCertificateFiles(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("ENTRAGATE_TEST_REQUIRE") == "1" {
			t.Fatal("openssl is not installed")
		}
		t.Skip("openssl is not installed")
	}
	key, leaf := newCertificate(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	plain, cert := writeFile(t, "key.pem", pemOf("PRIVATE KEY", der)), writeFile(t, "cert.pem", pemOf("CERTIFICATE", leaf.Raw))
	run := func(args ...string) {
		out, err := exec.Command(openssl, args...).CombinedOutput()
		require.NoError(t, err, "openssl %v: %s", args, out)
	}
	const pass = "open sesame"
	type pair struct{ cert, key string }
	files := map[string]pair{}
	for name, cipher := range map[string][]string{
		"default": nil, "aes-128": {"-v2", "aes-128-cbc"}, "aes-192": {"-v2", "aes-192-cbc"}, "sha1": {"-v2prf", "hmacWithSHA1"}, "sha512": {"-v2prf", "hmacWithSHA512"},
	} {
		run(append([]string{"pkcs8", "-topk8", "-in", plain, "-out", file(name), "-passout", "pass:" + pass}, cipher...)...)
		files[name] = pair{cert, file(name)}
	}
	run("pkcs12", "-export", "-inkey", plain, "-in", cert, "-out", file("pfx"), "-passout", "pass:"+pass)
	files["PFX"] = pair{file("pfx"), file("pfx")}
	for name, f := range files {
		e := newEndpoint(t, nil)
		mustToken(t, newClient(t, e, nil, func(cfg *tokenclient.Config) {
			cfg.Credential = tokenclient.EncryptedCertificateFile(f.cert, f.key, tokenclient.Secret(pass))
		}).Source(scope))
		assert.NotEmpty(t, e.form(1).Get("client_assertion"), name)
		for want, credential := range map[string]tokenclient.Credential{
			"password": tokenclient.EncryptedCertificateFile(f.cert, f.key, tokenclient.Secret("hush")),
			"use Encr": tokenclient.CertificateFile(f.cert, f.key),
			"SecretFu": tokenclient.EncryptedCertificateFile(f.cert, f.key, tokenclient.Credential{}),
		} {
			_, err := tokenclient.New(tokenclient.Config{TenantID: tenant, ClientID: clientID, Credential: credential})
			require.ErrorContains(t, err, want, name)
			assert.NotContains(t, err.Error(), "hush")
		}
	}
	run("pkcs12", "-export", "-inkey", plain, "-in", cert, "-out", file("open.pfx"), "-passout", "pass:")
	e := newEndpoint(t, nil)
	mustToken(t, newClient(t, e, nil, func(cfg *tokenclient.Config) {
		cfg.Credential = tokenclient.CertificateFile(file("open.pfx"), file("open.pfx"))
	}).Source(scope))
	run("rsa", "-traditional", "-aes256", "-in", plain, "-out", file("old"), "-passout", "pass:"+pass)
	run("pkcs8", "-topk8", "-scrypt", "-in", plain, "-out", file("scrypt"), "-passout", "pass:"+pass)
	for name, want := range map[string]string{"old": "does not protect", "scrypt": "not supported"} {
		_, err := tokenclient.New(tokenclient.Config{TenantID: tenant, ClientID: clientID, Credential: tokenclient.EncryptedCertificateFile(cert, file(name), tokenclient.Secret(pass))})
		assert.ErrorContains(t, err, want, name)
	}
}

// A damaged file is an error, never a panic.
func FuzzEncryptedKey(f *testing.F) {
	f.Add([]byte{0x30, 0x03, 0x02, 0x01, 0x00})
	dir := f.TempDir()
	key, leaf := newCertificate(f, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	_ = key
	cert := filepath.Join(dir, "cert.pem")
	require.NoError(f, os.WriteFile(cert, []byte(pemOf("CERTIFICATE", leaf.Raw)), 0o600))
	var n atomic.Int64
	f.Fuzz(func(t *testing.T, der []byte) {
		file := filepath.Join(dir, fmt.Sprint("key", n.Add(1)))
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}), 0o600))
		defer os.Remove(file)
		_, err := tokenclient.New(tokenclient.Config{
			TenantID: tenant, ClientID: clientID, Credential: tokenclient.EncryptedCertificateFile(cert, file, tokenclient.Secret("x")),
		})
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "panicked")
	})
}

// A source that fails once is asked again in the same fetch.
func TestCredentialThatFailsOnce(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	s := newClient(t, newEndpoint(t, nil), newClock(), func(cfg *tokenclient.Config) {
		cfg.Credential = tokenclient.SecretFunc(func(context.Context) (string, error) {
			if calls.Add(1) == 1 {
				return "", errors.New("the vault is busy")
			}
			return password, nil
		})
	}).Source(scope)
	assert.Equal(t, "token-1", mustToken(t, s))
	assert.EqualValues(t, 2, calls.Load())
}

// The advice names the file that nobody renews, and the clock where the file is
// not at fault.
func TestStaleAssertionFile(t *testing.T) {
	t.Parallel()
	clk := newClock()
	for want, exp := range map[string]time.Time{"nobody renewed it": clk.Now().Add(-time.Hour), "check this machine's clock": clk.Now().Add(time.Hour)} {
		jwt := "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, exp.Unix())) + ".x"
		file := writeFile(t, "token", jwt)
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			refuse(w, http.StatusBadRequest, "invalid_client", 700024, "Client assertion is not within its valid time range.")
		})
		err := mustFail(t, newClient(t, e, clk, func(cfg *tokenclient.Config) { cfg.Credential = tokenclient.AssertionFile(file) }).Source(scope))
		assert.Contains(t, err.Advice, want)
		assert.NotContains(t, err.Error(), jwt)
		if exp.Before(clk.Now()) {
			assert.Contains(t, err.Advice, file)
		}
	}
}
