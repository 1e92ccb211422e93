package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	hosts "github.com/entragate/entragate/internal/cloud"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/msgraph"
)

// directory makes the Directory of the tenant with the identity of the environment. It
// sends no request.
func (p *program) directory() (provision.Directory, error) {
	client, err := p.httpClient()
	if err != nil {
		return nil, err
	}
	credential, err := p.azureCredential(client)
	if err != nil {
		return nil, err
	}
	return msgraph.New(msgraph.Config{Credential: credential, Cloud: p.cloud, GraphURL: p.graph, HTTPClient: client})
}

// authorityHost is the login host without a tenant. custom reports whether -authority
// names it.
func (p *program) authorityHost() (host string, custom bool, err error) {
	h, err := hosts.Lookup(p.cloud)
	if err != nil {
		return "", false, fmt.Errorf("-cloud: %w", err)
	}
	if p.authority == "" {
		return h.Authority, false, nil
	}
	if err := hosts.CheckURL("-authority", p.authority); err != nil {
		return "", false, err
	}
	return strings.TrimSuffix(strings.TrimRight(p.authority, "/"), "/"+p.getenv("AZURE_TENANT_ID")), true, nil
}

func (p *program) azureCredential(client *http.Client) (azcore.TokenCredential, error) {
	authority, custom, err := p.authorityHost()
	if err != nil {
		return nil, err
	}
	o := azcore.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: authority}, Transport: client}
	tenant, id := p.getenv("AZURE_TENANT_ID"), p.getenv("AZURE_CLIENT_ID")
	switch p.credential {
	case "azure-cli":
		return azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: tenant})
	case "managed-identity":
		options := &azidentity.ManagedIdentityCredentialOptions{}
		if id != "" {
			options.ID = azidentity.ClientID(id)
		}
		return azidentity.NewManagedIdentityCredential(options)
	case "environment":
	default:
		return nil, &usageError{"credentials", fmt.Errorf("-credential is %q: environment, managed-identity and azure-cli are allowed", p.credential)}
	}
	var missing []string
	for _, name := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID"} {
		if p.getenv(name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s: not set, but needed with AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE; or use -credential managed-identity or azure-cli", strings.Join(missing, " and "))
	}
	// A login host that is not Microsoft's is unknown to instance discovery.
	if secret := p.getenv("AZURE_CLIENT_SECRET"); secret != "" {
		return azidentity.NewClientSecretCredential(tenant, id, secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: custom})
	}
	if path := p.getenv("AZURE_CLIENT_CERTIFICATE_PATH"); path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("AZURE_CLIENT_CERTIFICATE_PATH: %w", err)
		}
		certs, key, err := azidentity.ParseCertificates(raw, []byte(p.getenv("AZURE_CLIENT_CERTIFICATE_PASSWORD")))
		if err != nil {
			return nil, fmt.Errorf("AZURE_CLIENT_CERTIFICATE_PATH: %w", err)
		}
		return azidentity.NewClientCertificateCredential(tenant, id, certs, key, &azidentity.ClientCertificateCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: custom})
	}
	if path := p.getenv("AZURE_FEDERATED_TOKEN_FILE"); path != "" {
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: o, ClientID: id, TenantID: tenant, TokenFilePath: path, DisableInstanceDiscovery: custom,
		})
	}
	return nil, errors.New("no credential: set AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE, or use -credential managed-identity or azure-cli")
}

// httpClient trusts the certificates of -ca besides the system's.
func (p *program) httpClient() (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if p.ca == "" {
		return &http.Client{Transport: transport}, nil
	}
	pem, err := os.ReadFile(p.ca)
	if err != nil {
		return nil, fmt.Errorf("-ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-ca: %s holds no PEM certificate", p.ca)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: transport}, nil
}

// describe is the display name and the object ID of an identity.
func describe(who provision.Identity) string {
	if who.Name == "" {
		return "object ID " + who.ObjectID
	}
	return fmt.Sprintf("%q (object ID %s)", who.Name, who.ObjectID)
}
