package azcore_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	sdk "github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/examples/azcore"
	"github.com/entragate/entragate/tokenclient"
)

const (
	tenant = "0f6b6a5e-8a0b-4c57-9d5f-0d4f3a1b2c3d"
	scope  = "https://vault.azure.net/.default"
)

// A pipeline of the Azure SDK calls an API with a token of ours.
func TestPipeline(t *testing.T) {
	t.Parallel()
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Authorization"))
	}))
	defer api.Close()
	auth := runtime.NewBearerTokenPolicy(newCredential(t, http.StatusOK), []string{scope}, nil)
	pipeline := runtime.NewPipeline("test", "v1", runtime.PipelineOptions{PerRetry: []policy.Policy{auth}},
		&policy.ClientOptions{Transport: api.Client()})
	req, err := runtime.NewRequest(context.Background(), http.MethodGet, api.URL)
	require.NoError(t, err)
	resp, err := pipeline.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "Bearer t", string(body))
}

func TestGetTokenRefuses(t *testing.T) {
	t.Parallel()
	for _, options := range []policy.TokenRequestOptions{
		{}, {Scopes: []string{scope, scope}},
		{Scopes: []string{scope}, Claims: "{}"}, {Scopes: []string{scope}, TenantID: "other"},
	} {
		_, err := newCredential(t, http.StatusOK).GetToken(context.Background(), options)
		assert.Error(t, err)
	}
	_, err := newCredential(t, http.StatusOK).GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{scope}, TenantID: tenant})
	require.NoError(t, err)
	_, err = newCredential(t, http.StatusBadRequest).GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{scope}})
	require.ErrorAs(t, err, new(*tokenclient.Error))
}

func newCredential(t *testing.T, status int) sdk.TokenCredential {
	t.Helper()
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, `{"token_type":"Bearer","access_token":"t","expires_in":3600}`)
	}))
	t.Cleanup(login.Close)
	client, err := tokenclient.New(tokenclient.Config{
		TenantID: tenant, ClientID: "5d3f9a52-1a5d-4e0b-9a51-2f7b7f3f4c11",
		Authority: login.URL, Credential: tokenclient.Secret("not-a-real-secret"),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return azcore.Credential{Client: client, TenantID: tenant}
}
