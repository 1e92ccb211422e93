package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	hosts "github.com/entragate/entragate/internal/cloud"
	"github.com/entragate/entragate/provision/msgraph"
)

// connection is a way to Graph.
type connection struct {
	directory *msgraph.Directory
	authority string // the login host
}

// connect makes the credential and the Directory. It sends nothing.
func connect(o options) (connection, error) {
	client, err := trusting(o.ca)
	if err != nil {
		return connection{}, fmt.Errorf("-ca: %w", err)
	}
	cloudHosts, err := hosts.Lookup(o.cloud)
	if err != nil {
		return connection{}, fmt.Errorf("-cloud: %w", err)
	}
	tenant := os.Getenv("AZURE_TENANT_ID")
	authority := withoutTenant(o.authority, tenant)
	if authority != "" {
		if err := hosts.CheckURL("-authority", authority); err != nil {
			return connection{}, err
		}
		cloudHosts.Authority = authority
	}
	credential, err := credential(tenant, azcore.ClientOptions{
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: cloudHosts.Authority}, Transport: client,
	}, authority != "")
	if err != nil {
		return connection{}, err
	}
	directory, err := msgraph.New(msgraph.Config{Credential: credential, Cloud: o.cloud, GraphURL: o.graph, HTTPClient: client})
	return connection{directory, cloudHosts.Authority}, err
}

// withoutTenant takes the tenant off an authority's URL.
func withoutTenant(authority, tenant string) string {
	return strings.TrimSuffix(strings.TrimRight(authority, "/"), "/"+tenant)
}

// credential is the client secret of the environment, or the managed identity.
// custom is set for an authority that is not Microsoft's, which instance
// discovery, a question to Microsoft, would refuse.
func credential(tenant string, o azcore.ClientOptions, custom bool) (azcore.TokenCredential, error) {
	id, secret := os.Getenv("AZURE_CLIENT_ID"), os.Getenv("AZURE_CLIENT_SECRET")
	if secret == "" {
		options := &azidentity.ManagedIdentityCredentialOptions{}
		if id != "" {
			options.ID = azidentity.ClientID(id)
		}
		return azidentity.NewManagedIdentityCredential(options)
	}
	if tenant == "" || id == "" {
		return nil, errors.New("AZURE_TENANT_ID and AZURE_CLIENT_ID are needed with AZURE_CLIENT_SECRET")
	}
	return azidentity.NewClientSecretCredential(tenant, id, secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: custom})
}

// trusting is a client that trusts the certificates of a file, too.
func trusting(path string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if path == "" {
		return &http.Client{Transport: transport}, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: transport}, nil
}

// copyStore makes a consistent copy of a store that others may have open.
func copyStore(ctx context.Context, from, to string) (err error) {
	db, err := sql.Open("sqlite", from) // the driver that appaccess/sqlite registers
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", to)
	return err
}
