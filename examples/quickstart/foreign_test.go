package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Microsoft's own clients, and curl, get a token from the served tenant and call the
// gateway with it. They know the file of -env and two more things: that the authority
// is known, and which certificate to trust.
func TestForeignClients(t *testing.T) {
	t.Parallel()
	r := serveStack(t)
	for name, get := range map[string]func(t *testing.T, id, secret, scope string) (string, error){
		"azidentity": r.byAzidentity, "MSAL": r.byMSAL, "curl": r.byCurl,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mine, err := get(t, r.ClientID, r.ClientSecret, r.Scope)
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, r.call(t, bearer(mine)))

			other, err := get(t, r.OtherClientID, r.OtherClientSecret, r.OtherScope)
			require.NoError(t, err)
			assert.Equal(t, http.StatusForbidden, r.call(t, bearer(other)), "a token for another product")

			_, err = get(t, r.ClientID, r.ClientSecret+"x", r.Scope)
			assert.ErrorContains(t, err, "AADSTS7000215")
			_, err = get(t, r.ClientID, r.ClientSecret, r.OtherScope)
			assert.ErrorContains(t, err, "AADSTS501051", "the client is not granted that product")
		})
	}
}

// byAzidentity: azidentity wants https, the authority's host without the tenant,
// and DisableInstanceDiscovery.
func (r running) byAzidentity(t *testing.T, id, secret, scope string) (string, error) {
	credential, err := azidentity.NewClientSecretCredential(r.TenantID, id, secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: strings.TrimSuffix(r.Authority, r.TenantID)},
			Transport: r.client,
		},
		DisableInstanceDiscovery: true,
	})
	if err != nil {
		return "", err
	}
	token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{scope}})
	return token.Token, err
}

// byMSAL: MSAL takes the authority with the tenant, and WithInstanceDiscovery(false).
func (r running) byMSAL(t *testing.T, id, secret, scope string) (string, error) {
	credential, err := confidential.NewCredFromSecret(secret)
	if err != nil {
		return "", err
	}
	client, err := confidential.New(r.Authority, id, credential, confidential.WithHTTPClient(r.client), confidential.WithInstanceDiscovery(false))
	if err != nil {
		return "", err
	}
	result, err := client.AcquireTokenByCredential(t.Context(), []string{scope})
	if err != nil {
		return "", err
	}
	again, err := client.AcquireTokenByCredential(t.Context(), []string{scope})
	assert.NoError(t, err)
	assert.True(t, result.AccessToken == again.AccessToken, "MSAL caches it")
	return result.AccessToken, nil
}

// byCurl is the spec's script: a form to the token endpoint. The secret goes in
// by standard input, for the arguments of a process are no secret.
func (r running) byCurl(t *testing.T, id, secret, scope string) (string, error) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("ENTRAGATE_TEST_REQUIRE") != "" {
			t.Fatal("curl is not installed")
		}
		t.Skip("curl is not installed")
	}
	return runCurl(t.Context(), curl, r.CAFile, r.Authority+"/oauth2/v2.0/token", id, secret, scope)
}

func runCurl(ctx context.Context, curl, ca, url, id, secret, scope string) (string, error) {
	cmd := exec.CommandContext(ctx, curl, "-sS", "--cacert", ca, "--data-urlencode", "grant_type=client_credentials",
		"--data-urlencode", "client_id="+id, "--data-urlencode", "scope="+scope, "--data-urlencode", "client_secret@-", url)
	cmd.Stdin = strings.NewReader(secret)
	out, err := cmd.Output()
	if err != nil {
		return "", err
	}
	return accessToken(out)
}

func accessToken(body []byte) (string, error) {
	var answer struct {
		AccessToken string `json:"access_token"`
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", err
	}
	if answer.AccessToken == "" {
		return "", errors.New(answer.Description)
	}
	return answer.AccessToken, nil
}
