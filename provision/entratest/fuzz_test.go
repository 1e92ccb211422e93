package entratest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzFilter: no $filter makes the parser fail otherwise than by an error; what
// it accepts can be asked of any object; and a string that is written as a literal
// is found again by eq.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		"displayName eq 'x'", "uniqueName eq 'a''b' and startswith(displayName,'A')", "tags/any(t:t eq 'x') or not (appId ne null)",
		"resourceId eq 11111111-2222-3333-4444-555555555555", "((((", "not not not x eq 1", "a eq 'b' and", "any(", "'",
	} {
		f.Add(s)
	}
	stands := toEntity(&application{DisplayName: "A", AppID: "1", Tags: []string{"x"}})
	f.Fuzz(func(t *testing.T, s string) {
		parsed, failed := parseFilter(s)
		if failed != nil {
			require.Contains(t, []int{400, 501}, failed.status)
		} else {
			parsed.match(stands)
			parsed.match(entity{})
		}
		raw, err := json.Marshal(s)
		require.NoError(t, err)
		var said string // what survives JSON
		require.NoError(t, json.Unmarshal(raw, &said))
		if len(said) > 500 {
			return
		}
		literal := "'" + strings.ReplaceAll(said, "'", "''") + "'"
		parsed, failed = parseFilter("(displayName eq " + literal + ") and displayName eq " + literal)
		require.Nil(t, failed)
		require.True(t, parsed.match(entity{"displayName": raw}))
	})
}

// FuzzPath: every path is parsed or refused, and a key that is written as
// clients do is read back as it was.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"a", "o'ne", "a/b", "x')", "%2F", "ü", "appId='x'", "(", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if path, failed := parsePath(strings.Split(s, "/"), nil); failed == nil {
			for _, seg := range path {
				require.True(t, seg.name != "" || seg.key != "")
			}
		}
		path, failed := parsePath([]string{"applications(uniqueName='" + url.PathEscape(strings.ReplaceAll(s, "'", "''")) + "')"}, nil)
		require.Nil(t, failed)
		require.Equal(t, []segment{{name: "applications"}, {key: "uniqueName", val: s}}, path)
	})
}

// FuzzScope: a scope is refused or names its resource.
func FuzzScope(f *testing.F) {
	for _, s := range []string{"api://x/.default", "/.default", "a b", "", "https://g//.default", "x/.default/.default"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, failed := scopeResource(s)
		if failed == nil {
			require.NotEmpty(t, name)
			require.Equal(t, strings.TrimSpace(name)+"/.default", strings.Join(strings.Fields(s), " "))
		}
	})
}

// FuzzTokenForm: nothing that is posted makes the token endpoint give a token
// or fail but by an error of Entra's shape.
func FuzzTokenForm(f *testing.F) {
	tenant, err := New(Config{})
	require.NoError(f, err)
	c, err := tenant.AddCaller("c")
	require.NoError(f, err)
	f.Add("client_credentials", c.AppID, "x", "", "api://x/.default")
	f.Add("client_credentials", c.AppID, "", "a.b.c", GraphAppID+"/.default")
	f.Add("client_credentials", c.AppID, "", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.", GraphAppID+"/.default")
	f.Fuzz(func(t *testing.T, grant, id, secret, assertion, scope string) {
		form := url.Values{"grant_type": {grant}, "client_id": {id}, "client_secret": {secret}, "scope": {scope}}
		if assertion != "" {
			form.Set("client_assertion", assertion)
			form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		}
		resp, err := (&http.Client{Transport: tenant.Transport()}).PostForm(tenant.TokenURL(), form)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Contains(t, []int{400, 401}, resp.StatusCode)
		var body struct {
			Error string `json:"error"`
			Codes []int  `json:"error_codes"`
			Token string `json:"access_token"`
		}
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
		require.NotEmpty(t, body.Error)
		require.NotEmpty(t, body.Codes)
		require.Empty(t, body.Token)
	})
}
