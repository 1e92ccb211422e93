package directorytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
)

// certificate makes a certificate that is valid for a day.
func certificate(b bench, name string) provision.KeyCredential {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(b, err)
	now := time.Now().Truncate(time.Second)
	cert := testkit.Certificate(key, name, now.Add(-time.Hour), now.Add(24*time.Hour))
	return provision.KeyCredential{
		DisplayName: name, Type: "AsymmetricX509Cert", Usage: "Verify", Key: cert.Raw, Start: cert.NotBefore, End: cert.NotAfter,
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
