package cloud_test

import (
	"testing"

	"github.com/entragate/entragate/internal/cloud"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLookup(t *testing.T) {
	t.Parallel()
	for name, issuer := range map[string]string{
		"":          "https://login.microsoftonline.com/t/v2.0",
		"public":    "https://login.microsoftonline.com/t/v2.0",
		"usgov":     "https://login.microsoftonline.us/t/v2.0",
		"usgov-dod": "https://login.microsoftonline.us/t/v2.0",
		"china":     "https://login.partner.microsoftonline.cn/t/v2.0",
	} {
		h, err := cloud.Lookup(name)
		require.NoError(t, err, name)
		assert.Equal(t, issuer, h.IssuerV2("t"), name)
		assert.Equal(t, h.Authority+"/t/oauth2/v2.0/token", h.TokenURL("t"))
		for _, u := range []string{h.Authority, h.STS, h.Graph} {
			assert.NoError(t, cloud.CheckURL("f", u))
		}
	}
	_, err := cloud.Lookup("mars")
	require.ErrorContains(t, err, `"usgov"`)
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for raw, ok := range map[string]bool{
		"https://host":          true,
		"https://host:8443/x":   true,
		"http://127.0.0.1:80":   true,
		"http://[::1]:80":       true,
		"http://localhost":      true,
		"http://host":           false,
		"http://localhost.evil": false,
		"https://u:p@host":      false,
		"https://host?x=1":      false,
		"https://host#f":        false,
		"https://host?":         false,
		"https://host#":         false,
		"https://:443":          false,
		"ftp://127.0.0.1":       false,
		"host":                  false,
		"":                      false,
	} {
		assert.Equal(t, ok, cloud.CheckURL("Authority", raw) == nil, raw)
	}
}
