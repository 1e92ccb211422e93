package tokenclient

import (
	"errors"
	"fmt"
	"os"
)

// FromEnvironment makes a Config from the environment variables that Azure's tools use.
// getenv is os.Getenv if nil. The caller can change the result before passing it to
// [New]. An error names the variables that are missing.
//
//	AZURE_TENANT_ID, AZURE_CLIENT_ID     required
//	AZURE_AUTHORITY_HOST                 Config.Authority
//	AZURE_CLIENT_SECRET_FILE             [SecretFile]
//	AZURE_CLIENT_SECRET                  [Secret]
//	AZURE_CLIENT_CERTIFICATE_PATH        [CertificateFile], or with AZURE_CLIENT_CERTIFICATE_PASSWORD
//	                                     [EncryptedCertificateFile]; PEM or PFX
//	AZURE_FEDERATED_TOKEN_FILE           [AssertionFile], as workload identity sets it
//
// If several credentials are set, the first in this order is used, as in Azure's SDKs.
// AZURE_CLIENT_SECRET_FILE is an addition of this package: a file can be replaced while
// the program runs.
func FromEnvironment(getenv func(string) string) (Config, error) {
	if getenv == nil {
		getenv = os.Getenv
	}
	cfg := Config{
		TenantID: getenv("AZURE_TENANT_ID"), ClientID: getenv("AZURE_CLIENT_ID"), Authority: getenv("AZURE_AUTHORITY_HOST"),
	}
	for _, name := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID"} {
		if getenv(name) == "" {
			return Config{}, fmt.Errorf("tokenclient: %s: is not set", name)
		}
	}
	certificate, password := getenv("AZURE_CLIENT_CERTIFICATE_PATH"), getenv("AZURE_CLIENT_CERTIFICATE_PASSWORD")
	switch {
	case getenv("AZURE_CLIENT_SECRET_FILE") != "":
		cfg.Credential = SecretFile(getenv("AZURE_CLIENT_SECRET_FILE"))
	case getenv("AZURE_CLIENT_SECRET") != "":
		cfg.Credential = Secret(getenv("AZURE_CLIENT_SECRET"))
	case certificate != "" && password != "":
		cfg.Credential = EncryptedCertificateFile(certificate, certificate, Secret(password))
	case certificate != "":
		cfg.Credential = CertificateFile(certificate, certificate)
	case getenv("AZURE_FEDERATED_TOKEN_FILE") != "":
		cfg.Credential = AssertionFile(getenv("AZURE_FEDERATED_TOKEN_FILE"))
	default:
		return Config{}, errors.New("tokenclient: no credential: set AZURE_CLIENT_SECRET_FILE, AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE")
	}
	return cfg, nil
}
