package main

import (
	"context"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/entragate/entragate/tokenclient"
)

const (
	tenant   = "0f6b6a5e-8a0b-4c57-9d5f-0d4f3a1b2c3d"
	clientID = "5d3f9a52-1a5d-4e0b-9a51-2f7b7f3f4c11"
	secret   = "not-a-real-secret"
	scope    = "api://2e1c0d6a-5b7e-4c39-8b8e-7a3b9e0d1f22/.default"
)

// getter gets a token as one library does it, with that library's defaults.
type getter func(context.Context) error

// library makes a getter whose requests go to e. now is the library's clock,
// where it lets one be given.
type library struct {
	name string
	make func(e *endpoint, now func() time.Time) (getter, error)
}

var libraries = []library{
	{"tokenclient", ours},
	{"x/oauth2", xoauth2},
	{"azidentity", azure},
	{"MSAL", msal},
}

func ours(e *endpoint, now func() time.Time) (getter, error) {
	c, err := tokenclient.New(tokenclient.Config{
		TenantID: tenant, ClientID: clientID, Authority: e.URL, Credential: tokenclient.Secret(secret),
		HTTPClient: e.client(), Now: now,
	})
	if err != nil {
		return nil, err
	}
	s := c.Source(scope)
	return func(ctx context.Context) error { _, err := s.Token(ctx); return err }, nil
}

// xoauth2 has one context for all its requests, and Token takes none.
func xoauth2(e *endpoint, _ func() time.Time) (getter, error) {
	cfg := clientcredentials.Config{
		ClientID: clientID, ClientSecret: secret, Scopes: []string{scope},
		TokenURL: e.URL + "/" + tenant + "/oauth2/v2.0/token", AuthStyle: oauth2.AuthStyleInParams,
	}
	s := cfg.TokenSource(withClient(e.client())) // a ReuseTokenSource
	return func(context.Context) error { _, err := s.Token(); return err }, nil
}

func azure(e *endpoint, _ func() time.Time) (getter, error) {
	c, err := azidentity.NewClientSecretCredential(tenant, clientID, secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: e.URL}, Transport: e.client(),
		},
		DisableInstanceDiscovery: true,
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
		return err
	}, nil
}

func msal(e *endpoint, _ func() time.Time) (getter, error) {
	cred, err := confidential.NewCredFromSecret(secret)
	if err != nil {
		return nil, err
	}
	c, err := confidential.New(e.URL+"/"+tenant, clientID, cred,
		confidential.WithHTTPClient(e.client()), confidential.WithInstanceDiscovery(false))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := c.AcquireTokenByCredential(ctx, []string{scope})
		return err
	}, nil
}

// client makes the requests of every library: it gives up after two seconds.
func (e *endpoint) client() *http.Client {
	c := *e.Client()
	c.Timeout = 2 * time.Second
	return &c
}
