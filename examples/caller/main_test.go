package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const tenant = "0f6b6a5e-8a0b-4c57-9d5f-0d4f3a1b2c3d"

// The program over TLS with its own authority: token endpoint and API on one
// server.
func TestCaller(t *testing.T) {
	t.Parallel()
	server, ca := world(t)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("right\n"), 0o600))
	good := map[string]string{
		"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": "5d3f9a52-1a5d-4e0b-9a51-2f7b7f3f4c11", "AZURE_AUTHORITY_HOST": server.URL + "/" + tenant,
		"SCOPE": "api://x/.default", "AZURE_CLIENT_SECRET_FILE": secret,
	}
	for name, tt := range map[string]struct {
		args   []string
		change map[string]string
		out    string
		err    string
	}{
		"works":         {args: []string{"-ca", ca, server.URL + "/echo"}, out: "200 OK\nhello\n"},
		"secret itself": {args: []string{"-ca", ca, server.URL + "/echo"}, change: map[string]string{"AZURE_CLIENT_SECRET_FILE": "", "AZURE_CLIENT_SECRET": "right"}, out: "200 OK\nhello\n"},
		"refused":       {args: []string{"-ca", ca, server.URL + "/other"}, out: "403 Forbidden\n\n", err: "insufficient_scope"},
		"wrong secret":  {args: []string{"-ca", ca, server.URL + "/echo"}, change: map[string]string{"AZURE_CLIENT_SECRET_FILE": "", "AZURE_CLIENT_SECRET": "wrong"}, err: "value, not its ID"},
		"no secret":     {args: []string{"-ca", ca, server.URL + "/echo"}, change: map[string]string{"AZURE_CLIENT_SECRET_FILE": ""}, err: "no credential: set AZURE_CLIENT_SECRET_FILE"},
		"no tenant":     {args: []string{"-ca", ca, server.URL + "/echo"}, change: map[string]string{"AZURE_TENANT_ID": ""}, err: "AZURE_TENANT_ID: is not set"},
		"a name":        {args: []string{"-ca", ca, server.URL + "/echo"}, change: map[string]string{"AZURE_CLIENT_ID": "order-sync"}, err: "ClientID: must be"},
		"other tenant":  {args: []string{"-ca", ca, server.URL + "/echo"}, change: map[string]string{"AZURE_AUTHORITY_HOST": server.URL + "/common"}, err: "is not the tenant"},
		"wrong scope":   {args: []string{"-ca", ca, server.URL + "/echo"}, change: map[string]string{"SCOPE": "x"}, err: "/.default"},
		"untrusted":     {args: []string{server.URL + "/echo"}, err: "not trusted"},
		"no CA file":    {args: []string{"-ca", secret + "x", server.URL}, err: "no such file"},
		"no CA":         {args: []string{"-ca", secret, server.URL}, err: "CAFile: "},
		"help":          {args: []string{"-h"}},
		"no URL":        {err: "exactly one URL"},
		"two URLs":      {args: []string{server.URL, server.URL}, err: "exactly one URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := func(key string) string {
				if v, ok := tt.change[key]; ok {
					return v
				}
				return good[key]
			}
			var stdout, stderr bytes.Buffer
			err := run(context.Background(), tt.args, env, &stdout, &stderr)
			assert.Equal(t, tt.out, stdout.String())
			if tt.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.err)
			assert.NotContains(t, err.Error()+stderr.String(), "wrong\"")
		})
	}
}

func world(t *testing.T) (server *httptest.Server, caFile string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /"+tenant+"/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("client_secret") != "right" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_client","error_codes":[7000215]}`)
			return
		}
		fmt.Fprint(w, `{"token_type":"Bearer","expires_in":3599,"access_token":"t"}`)
	})
	mux.HandleFunc("GET /echo", func(w http.ResponseWriter, r *http.Request) {
		if strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") == "t" {
			fmt.Fprint(w, "hello")
		}
	})
	mux.HandleFunc("GET /other", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope"`)
		w.WriteHeader(http.StatusForbidden)
	})
	server = httptest.NewUnstartedServer(mux)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are expected
	server.StartTLS()
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(caFile, data, 0o600))
	return server, caFile
}
