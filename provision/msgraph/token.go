package msgraph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/entragate/entragate/internal/wait"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/internal/graph"
)

// tokens returns a function that asks the credential for an access token. claims
// that a new token must meet keep azidentity from returning its cached one.
func tokens(credential azcore.TokenCredential, scope string) func(context.Context, string) (string, error) {
	return func(ctx context.Context, claims string) (string, error) {
		token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}, Claims: claims})
		if err != nil {
			return "", credentialError(err)
		}
		if token.Token == "" {
			return "", errors.New("msgraph: the credential returned an empty token")
		}
		return token.Token, nil
	}
}

// credentialError separates refused credentials (permanent) from an unreachable
// authority (retryable). It keeps the authority's text, which says why
// (AADSTS7000215: the secret is wrong).
func credentialError(err error) error {
	var failed *azidentity.AuthenticationFailedError
	if !errors.As(err, &failed) || failed.RawResponse == nil {
		return fmt.Errorf("msgraph: no access token: %w", err)
	}
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		TraceID     string `json:"trace_id"`
	}
	resp := failed.RawResponse
	if raw, err := runtime.Payload(resp); err == nil {
		_ = json.Unmarshal(raw, &body) // without a body the status is all there is
	}
	e := &provision.APIError{
		Status: resp.StatusCode, Code: graph.Printable(body.Error), RequestID: graph.Printable(body.TraceID),
		RetryAfter: wait.RetryAfter(resp.Header, time.Now()), Message: "no access token: " + graph.Printable(body.Description),
	}
	if resp.StatusCode == http.StatusBadRequest {
		// The token endpoint answers 400 to many a wrong client. For a caller of
		// Graph all of them mean that the client is not accepted.
		e.Status = http.StatusUnauthorized
	}
	return e
}
