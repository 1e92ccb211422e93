package msgraph_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/msgraph"
)

// renewed is a credential that returns its cached token unless claims are asked for.
type renewed struct{ claims atomic.Value }

func (r *renewed) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token := "old"
	if o.Claims != "" {
		r.claims.Store(o.Claims)
		token = "new"
	}
	return azcore.AccessToken{Token: token, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// A token that Graph refuses is renewed once, with the claims that Graph asks for.
func TestRefusedTokenIsRenewed(t *testing.T) {
	t.Parallel()
	for challenge, claims := range map[string]string{
		`Bearer error="insufficient_claims", claims="eyJhIjoxfQ=="`: `{"a":1}`,
		``: `{"access_token":{"nbf":{"essential":true,"value":"`,
	} {
		var requests, writes atomic.Int32
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			if r.Header.Get("Authorization") != "Bearer new" {
				if challenge != "" {
					w.Header().Set("WWW-Authenticate", challenge)
				}
				answerJSON(w, 401, `{"error":{"code":"InvalidAuthenticationToken","message":"TokenCreatedWithOutdatedPolicies"}}`)
				return
			}
			writes.Add(1)
			w.WriteHeader(204)
		}))
		t.Cleanup(srv.Close)
		credential := &renewed{}
		d, err := msgraph.New(msgraph.Config{Credential: credential, GraphURL: srv.URL})
		require.NoError(t, err)
		require.NoError(t, d.DeleteApplication(t.Context(), "1"))
		assert.EqualValues(t, 2, requests.Load())
		assert.EqualValues(t, 1, writes.Load())
		assert.Contains(t, credential.claims.Load(), claims)
	}
}

// A list whose page token expired is read again from its start.
func TestExpiredPageToken(t *testing.T) {
	t.Parallel()
	var lists, expired atomic.Int32
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		item := func(id string) string {
			return fmt.Sprintf(`{"id":%q,"principalId":"p","resourceId":"r","appRoleId":"a"}`, id)
		}
		if r.URL.Query().Get("$skiptoken") == "" {
			lists.Add(1)
			answerJSON(w, 200, fmt.Sprintf(`{"value":[%s],"@odata.nextLink":"https://%s/v1.0/servicePrincipals('1')/appRoleAssignments?$skiptoken=t"}`, item("one"), r.Host))
			return
		}
		if expired.Add(1) == 1 {
			answerJSON(w, 400, `{"error":{"code":"Directory_ExpiredPageToken","message":"The specified page token value has expired."}}`)
			return
		}
		answerJSON(w, 200, `{"value":[`+item("two")+`]}`)
	})
	all, errs := f.Assignments(t.Context(), []string{"1"})
	require.NoError(t, errs[0])
	assert.Len(t, all[0], 2, "no item is there twice")
	assert.EqualValues(t, 2, lists.Load())
}

// A link to another list, version or host is not followed.
func TestPageLinks(t *testing.T) {
	t.Parallel()
	for _, link := range []string{
		"/beta/servicePrincipals/1/appRoleAssignments?$skiptoken=t", "/v1.0/servicePrincipals/2/appRoleAssignments?$skiptoken=t",
		"/v1.0/servicePrincipals/1/appRoleAssignments/../../x", "/v1.0/users", "/",
	} {
		f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
			answerJSON(w, 200, fmt.Sprintf(`{"value":[],"@odata.nextLink":%q}`, "https://"+r.Host+link))
		})
		_, errs := f.Assignments(t.Context(), []string{"1"})
		require.ErrorContains(t, errs[0], "refused to follow", link)
		assert.EqualValues(t, 1, f.requests.Load())
	}
}

// 16 MiB of small values cost no more memory than they have bytes to read. It
// measures the memory of the process: no other test runs beside it.
func TestWorkIsBounded(t *testing.T) {
	for name, body := range map[string]string{
		"numbers":      `{"value":[` + strings.Repeat("1,", 8<<20-100) + `1]}`,
		"applications": `{"value":[` + strings.Repeat("{},", 5<<20) + `{}]}`,
		"tags":         `{"id":"1","tags":[` + strings.Repeat(`"",`, 5<<20) + `""]}`,
		"nesting":      strings.Repeat(`{"a":`, 3<<20),
	} {
		d, err := msgraph.New(msgraph.Config{Credential: fixed("t"), HTTPClient: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}, nil
		})}})
		require.NoError(t, err)
		for call, f := range map[string]func() error{
			"a list": func() error { _, errs := d.Assignments(t.Context(), []string{"1"}); return errs[0] },
			"an object": func() error {
				_, errs := d.Applications(t.Context(), []provision.AppRef{{ObjectID: "1"}})
				return errs[0]
			},
			"a search": func() error {
				_, err := d.DeletedApplication(t.Context(), provision.AppRef{UniqueName: "u"})
				return err
			},
		} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := f()
			runtime.ReadMemStats(&after)
			require.Error(t, err, "%s, %s", name, call)
			used := (after.TotalAlloc - before.TotalAlloc) >> 20
			assert.Less(t, used, uint64(64), "MiB for %s read as %s", name, call)
			assert.Less(t, len(err.Error()), 1000)
		}
	}
}

// Control characters in an answer do not reach a terminal or a log.
func TestErrorsArePrintable(t *testing.T) {
	t.Parallel()
	const bad = `\u001b[31m\r\nfake log line\u0000\u0085\u2028`
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/broken") {
			answerJSON(w, 200, "{\"id\":\x1b}")
			return
		}
		answerJSON(w, 400, `{"error":{"code":"`+bad+`","message":"`+bad+strings.Repeat("x", 5000)+`","details":[{"code":"`+bad+`","message":"`+bad+`","target":"`+bad+`"}],"innerError":{"request-id":"`+bad+`"}}}`)
	})
	_, err := f.application()
	var api *provision.APIError
	require.ErrorAs(t, err, &api)
	for _, text := range []string{err.Error(), api.Code, api.RequestID, api.Details[0].Code, api.Details[0].Message, api.Details[0].Target} {
		assert.False(t, strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == 0x2028 }), "%q", text)
		assert.Less(t, len(text), 3000)
	}
	_, errs := f.Applications(t.Context(), []provision.AppRef{{ObjectID: "broken"}})
	require.Error(t, errs[0])
	assert.False(t, strings.ContainsFunc(errs[0].Error(), unicode.IsControl), "%q", errs[0])
}

// What is sent back is what was read: a certificate's dates to the last digit and
// permissions of a type that nobody here knows. A new secret has no start: Entra's
// clock sets it.
func TestSentBackAsRead(t *testing.T) {
	t.Parallel()
	var sent []string
	const entry = `{"customKeyIdentifier":"AAEC","displayName":"theirs","endDateTime":"2027-03-04T05:06:52.4637406Z","key":null,"keyId":"8a2b7e04-6a64-4b3b-9f2a-4a5b8c7d6e5f","startDateTime":"2026-03-04T05:06:52.4637406Z","type":"AsymmetricX509Cert","usage":"Verify","newer":{"a":[1.50]}}`
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			raw, _ := io.ReadAll(r.Body)
			sent = append(sent, string(raw))
			answerJSON(w, 200, `{"keyId":"8a2b7e04-6a64-4b3b-9f2a-4a5b8c7d6e5f","secretText":"s"}`)
			return
		}
		answerJSON(w, 200, `{"id":"1","keyCredentials":[`+entry+`],"requiredResourceAccess":[{"resourceAppId":"r","resourceAccess":[
			{"id":"8a2b7e04-6a64-4b3b-9f2a-4a5b8c7d6e5f","type":"Future"},{"id":"8a2b7e04-6a64-4b3b-9f2a-4a5b8c7d6e50","type":"Role"}]}]}`)
	})
	app, err := f.application()
	require.NoError(t, err)
	keys := append(app.Keys, provision.KeyCredential{DisplayName: "ours", Type: "AsymmetricX509Cert", Usage: "Verify", Key: []byte{1}})
	require.NoError(t, f.PatchApplication(t.Context(), "1", provision.ApplicationPatch{Keys: &keys, RequiredAccess: &app.RequiredAccess}))
	var body struct {
		KeyCredentials         []json.RawMessage
		RequiredResourceAccess []struct{ ResourceAccess []struct{ ID, Type string } }
	}
	require.NoError(t, json.Unmarshal([]byte(sent[0]), &body))
	require.Len(t, body.KeyCredentials, 2)
	assert.JSONEq(t, strings.Replace(entry, `"key":null,`, "", 1), string(body.KeyCredentials[0]))
	assert.Contains(t, string(body.KeyCredentials[0]), "1.50")
	access := body.RequiredResourceAccess[0].ResourceAccess
	require.Len(t, access, 2)
	assert.Equal(t, "Future", access[1].Type)

	_, err = f.AddPassword(t.Context(), "1", provision.PasswordRequest{DisplayName: "d", End: time.Unix(2e9, 0)})
	require.NoError(t, err)
	assert.NotContains(t, sent[1], "startDateTime")
	assert.Contains(t, sent[1], `"endDateTime":"2033-05-18T03:33:20Z"`)
}
