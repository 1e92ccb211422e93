package apim_test

import (
	"context"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess/apim"
	"github.com/entragate/entragate/internal/armtest"
)

const (
	instanceID = "/subscriptions/1a2b3c4d-0001-4a00-8a00-00000000a001/resourceGroups/brightwater-integration/providers/Microsoft.ApiManagement/service/brightwater-apim"
	tenantID   = "7e5f0c2a-1111-4b00-9c00-00000000b001"
)

// fakeARM answers with the recorded instance of testdata.
type fakeARM struct{ *armtest.Server }

func newFakeARM(t *testing.T) *fakeARM {
	t.Helper()
	return &fakeARM{armtest.New(t, "testdata")}
}

type fakeCredential struct{}

func (fakeCredential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "not-a-real-token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func (f *fakeARM) client(t *testing.T) *apim.Client {
	t.Helper()
	c, err := apim.NewClient(apim.ClientConfig{
		ResourceID: instanceID, Credential: fakeCredential{},
		Options: arm.ClientOptions{ClientOptions: policy.ClientOptions{
			Transport: f.Client(),
			Retry:     policy.RetryOptions{MaxRetries: 2, RetryDelay: time.Millisecond, MaxRetryDelay: time.Second},
			Cloud: cloud.Configuration{
				ActiveDirectoryAuthorityHost: f.URL,
				Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: f.URL, Audience: f.URL}},
			},
		}},
	})
	require.NoError(t, err)
	return c
}
