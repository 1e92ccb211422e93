package cloud_test

import (
	"strings"
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
		"bleu":      "https://login.sovcloud-identity.fr/t/v2.0",
		"delos":     "https://login.sovcloud-identity.de/t/v2.0",
	} {
		h, err := cloud.Lookup(name)
		require.NoError(t, err, name)
		assert.Equal(t, issuer, h.IssuerV2("t"), name)
		assert.Equal(t, h.Authority+"/t/oauth2/v2.0/token", h.TokenURL("t"))
		for _, u := range []string{h.Authority, h.Graph} {
			assert.NoError(t, cloud.CheckURL("f", u))
		}
		if h.STS != "" { // not published for every cloud
			assert.NoError(t, cloud.CheckURL("f", h.STS))
		}
	}
	_, err := cloud.Lookup("mars")
	require.ErrorContains(t, err, `"usgov"`)
}

// An External ID tenant is asked at its name and issues tokens by its ID.
func TestExternalID(t *testing.T) {
	t.Parallel()
	for _, authority := range []string{"https://contoso.ciamlogin.com", "https://Contoso.CiamLogin.com/" + tenant + "/v2.0"} {
		for _, name := range []string{"", "public"} {
			h, err := cloud.Resolve(name, authority, tenant)
			require.NoError(t, err)
			assert.Equal(t, "https://"+tenant+".ciamlogin.com/"+tenant+"/v2.0", h.IssuerV2(tenant))
			assert.Equal(t, "https://contoso.ciamlogin.com/"+tenant+"/discovery/v2.0/keys", strings.ToLower(h.KeysURL(tenant)))
			assert.Empty(t, h.STS, "no version 1 tokens")
			assert.Equal(t, "https://graph.microsoft.com", h.Graph)
		}
	}
	_, err := cloud.Resolve("china", "https://contoso.ciamlogin.com", tenant)
	require.ErrorContains(t, err, "Authority: ")
}

const tenant = "0f6b6a5e-8a0b-4c57-9d5f-0d4f3a1b2c3d"

// The host of a cloud selects the cloud; any other host is used for itself only.
func TestResolve(t *testing.T) {
	t.Parallel()
	hosts := func(name string) cloud.Hosts {
		h, err := cloud.Lookup(name)
		require.NoError(t, err)
		return h
	}
	for _, tt := range []struct {
		name, authority string
		want            cloud.Hosts
	}{
		{"", "", hosts("public")},
		{"china", "", hosts("china")},
		{"", "https://login.microsoftonline.com", hosts("public")},
		{"public", "https://login.microsoftonline.com/", hosts("public")},
		{"", "HTTPS://Login.MicrosoftOnline.com:443/" + tenant + "/", hosts("public")},
		{"", "https://login.microsoftonline.com/" + tenant + "/v2.0", hosts("public")},
		{"", "https://login.windows.net/" + tenant, hosts("public")},
		{"", "https://login.microsoftonline.us", hosts("usgov")},
		{"usgov", "https://login.usgovcloudapi.net", hosts("usgov")},
		{"usgov-dod", "https://login.microsoftonline.us", hosts("usgov-dod")},
		{"china", "https://login.chinacloudapi.cn", hosts("china")},
		{"delos", "https://login.sovcloud-identity.de", hosts("delos")},
		{"", "https://login.sovcloud-identity.fr", hosts("bleu")},
		{"", "https://login.contoso.com", cloud.Hosts{Authority: "https://login.contoso.com"}},
		{"", "https://login.contoso.com:8443//", cloud.Hosts{Authority: "https://login.contoso.com:8443"}},
		{"", "http://[::1]:80/" + strings.ToUpper(tenant), cloud.Hosts{Authority: "http://[::1]:80"}},
		{"", "https://login.microsoftonline.com:8443", cloud.Hosts{Authority: "https://login.microsoftonline.com:8443"}},
		{"", "https://login.microsoftonline.com.evil.test", cloud.Hosts{Authority: "https://login.microsoftonline.com.evil.test"}},
	} {
		got, err := cloud.Resolve(tt.name, tt.authority, tenant)
		require.NoError(t, err, tt.authority)
		assert.Equal(t, tt.want, got, tt.authority)
	}
}

func TestResolveRefuses(t *testing.T) {
	t.Parallel()
	const other, host = "11111111-8a0b-4c57-9d5f-0d4f3a1b2c3d", "https://login.contoso.com"
	for _, tt := range []struct {
		name, authority string
		tenants         []string
		want            string
	}{
		{"mars", "", nil, `Cloud: unknown cloud "mars"`},
		{"", "http://login.contoso.com", nil, "Authority: must be https"},
		{"", "https://login.contoso.com/?x", nil, "Authority: must not carry"},
		{"", "login.contoso.com", nil, "Authority: "},
		{"", host + "/" + other, []string{tenant}, `Authority: path "/` + other + `" is not the tenant: give the host only, "` + host + `"`},
		{"", host + "/common", []string{tenant}, `path "/common"`},
		{"", host + "/v2.0", []string{tenant}, `path "/v2.0"`},
		{"", host + "/x/" + tenant, []string{tenant}, `path "/x/`},
		{"", host + "//" + tenant, []string{tenant}, `path "//`},
		{"", host + "/" + tenant + "/oauth2/v2.0/token", []string{tenant}, "/oauth2/v2.0/token"},
		{"", host + "/" + tenant + "%2f", []string{tenant}, "is not the tenant"},
		{"", "https://login.microsoftonline.com/" + other, []string{tenant}, "is not the tenant"},
		{"", host + "/" + tenant, nil, "is not the tenant"},
		{"", host + "/" + tenant, []string{tenant, other}, "is not the tenant"},
		{"", host + "//v2.0", []string{""}, "is not the tenant"},
		{"public", host, nil, "Authority: excludes Cloud"},
		{"china", "https://login.microsoftonline.us", nil, `Authority: "https://login.microsoftonline.us" belongs to the cloud "usgov", but Cloud is "china"`},
		{"usgov", "https://login.windows.net", nil, `belongs to the cloud "public"`},
	} {
		got, err := cloud.Resolve(tt.name, tt.authority, tt.tenants...)
		require.ErrorContains(t, err, tt.want, tt.authority)
		assert.Zero(t, got)
	}
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

func TestIsGUID(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"00001111-aaaa-2222-bbbb-3333cccc4444": true, "00001111-AAAA-2222-BBBB-3333CCCC9FFF": true,
		"": false, "00001111-aaaa-2222-bbbb-3333cccc444": false, "00001111-aaaa-2222-bbbb-3333cccc44444": false,
		"00001111aaaaa-2222-bbbb-3333cccc4444": false, "00001111-aaaa-2222-bbbb-3333cccc444g": false, "-0001111-aaaa-2222-bbbb-3333cccc4444": false,
		"{0001111-aaaa-2222-bbbb-3333cccc444}": false, "0000111/-aaaa-2222-bbbb-3333cccc4444": false, "0000111:-aaaa-2222-bbbb-3333cccc4444": false,
	} {
		assert.Equal(t, want, cloud.IsGUID(s), s)
	}
}
