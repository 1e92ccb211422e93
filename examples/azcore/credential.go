// Package azcore shows tokenclient as an azcore.TokenCredential, so that
// clients of the Azure SDK take their tokens from it. Copy it: it is a dozen
// lines.
package azcore

import (
	"context"
	"errors"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/entragate/entragate/tokenclient"
)

// Credential is an azcore.TokenCredential over a tokenclient.Client. It is safe
// for concurrent use.
type Credential struct {
	Client *tokenclient.Client
	// TenantID is the Client's own. Some services, Key Vault among them, name
	// the tenant that they want a token of.
	TenantID string
}

var _ azcore.TokenCredential = Credential{}

// GetToken gets a token for the one scope that is asked for. It refuses another
// tenant, and claims, which come with continuous access evaluation: EnableCAE
// is ignored.
func (c Credential) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(options.Scopes) != 1 {
		return azcore.AccessToken{}, errors.New("azcore: exactly one scope is supported")
	}
	if options.TenantID != "" && options.TenantID != c.TenantID {
		return azcore.AccessToken{}, fmt.Errorf("azcore: a token of tenant %q was asked for, the client's is %q", options.TenantID, c.TenantID)
	}
	if options.Claims != "" {
		return azcore.AccessToken{}, errors.New("azcore: claims are not supported")
	}
	token, err := c.Client.Source(options.Scopes[0]).Token(ctx)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return azcore.AccessToken{Token: token.Reveal(), ExpiresOn: token.Expires()}, nil
}
