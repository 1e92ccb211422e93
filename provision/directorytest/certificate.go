package directorytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision"
)

// certificate makes one of a day.
func certificate(b bench, name string) provision.KeyCredential {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(b, err)
	now := time.Now().Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(b, err)
	return provision.KeyCredential{
		DisplayName: name, Type: "AsymmetricX509Cert", Usage: "Verify", Key: der, Start: template.NotBefore, End: template.NotAfter,
	}
}

// refusedWith requires an APIError that says that the request was wrong.
func refusedWith(b bench, err error) *provision.APIError {
	b.Helper()
	var api *provision.APIError
	require.ErrorAs(b, err, &api)
	assert.Contains(b, []int{400, 403, 409}, api.Status)
	return api
}

// mentions looks for a code where Graph may put it.
func mentions(e *provision.APIError, code string) bool {
	return e.Code == code || strings.Contains(e.Message, code) ||
		slices.ContainsFunc(e.Details, func(d provision.APIErrorDetail) bool { return d.Code == code })
}
