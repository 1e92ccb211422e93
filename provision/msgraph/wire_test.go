package msgraph_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/secret"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/msgraph"
)

// The tests of this file ask what happens when Graph, or something in front of
// it, answers as no tenant would.

// fixed is a credential that gives one token.
type fixed string

func (f fixed) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(f), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// fake serves one handler as Graph, over HTTP/2 as Graph does (the conformance
// suite goes over HTTP/1.1), and counts its requests.
type fake struct {
	provision.Directory
	requests atomic.Int32
}

func newFake(t *testing.T, h http.HandlerFunc) *fake {
	t.Helper()
	f := new(fake)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.Add(1)
		assert.Equal(t, 2, r.ProtoMajor)
		h(w, r)
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that are cut
	srv.StartTLS()
	t.Cleanup(srv.Close)
	var err error
	f.Directory, err = msgraph.New(msgraph.Config{Credential: fixed("token"), GraphURL: srv.URL, HTTPClient: srv.Client()})
	require.NoError(t, err)
	return f
}

func (f *fake) application() (provision.Application, error) {
	apps, errs := f.Applications(context.Background(), []provision.AppRef{{ObjectID: "1"}})
	return apps[0], errs[0]
}

func answerJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// An answer that is not a success is an APIError, whatever its body holds.
func TestErrorAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		header map[string]string
		body   string
		want   provision.APIError
	}{
		"complete": {
			status: 400,
			header: map[string]string{"Content-Type": "application/json", "request-id": "r-1", "Retry-After": "7"},
			body:   `{"error":{"code":"Request_BadRequest","message":"no","details":[{"code":"DuplicateValue","message":"twice","target":"appRoles"}],"innerError":{"request-id":"inner"}}}`,
			want: provision.APIError{Status: 400, Code: "Request_BadRequest", Message: "no", RequestID: "r-1", RetryAfter: 7 * time.Second,
				Details: []provision.APIErrorDetail{{Code: "DuplicateValue", Message: "twice", Target: "appRoles"}}},
		},
		"request-id only inside": {
			status: 403, header: map[string]string{"Content-Type": "application/json"},
			body: `{"error":{"code":"Authorization_RequestDenied","message":"no","innerError":{"request-id":"inner"}}}`,
			want: provision.APIError{Status: 403, Code: "Authorization_RequestDenied", Message: "no", RequestID: "inner"},
		},
		"no message":       {status: 404, header: map[string]string{"Content-Type": "application/json"}, body: `{"error":{"code":"X"}}`, want: provision.APIError{Status: 404, Code: "X", Message: "Not Found"}},
		"no error":         {status: 500, header: map[string]string{"Content-Type": "application/json"}, body: `{}`, want: provision.APIError{Status: 500, Message: "Internal Server Error"}},
		"null":             {status: 500, header: map[string]string{"Content-Type": "application/json"}, body: `null`, want: provision.APIError{Status: 500, Message: "Internal Server Error"}},
		"empty":            {status: 503, want: provision.APIError{Status: 503, Message: `Service Unavailable, with a body of 0 bytes and content type "" that is not an error of Graph`}},
		"a proxy's page":   {status: 502, header: map[string]string{"Content-Type": "text/html"}, body: `<html>`, want: provision.APIError{Status: 502, Message: `Bad Gateway, with a body of 6 bytes and content type "text/html" that is not an error of Graph`}},
		"a date to wait":   {status: 429, header: map[string]string{"Date": "Mon, 02 Jan 2006 15:04:05 GMT", "Retry-After": "Mon, 02 Jan 2006 15:05:05 GMT"}, body: `{}`, want: provision.APIError{Status: 429, Message: "Too Many Requests", RetryAfter: time.Minute}},
		"a wait in vain":   {status: 429, header: map[string]string{"Retry-After": "-5"}, body: `{}`, want: provision.APIError{Status: 429, Message: "Too Many Requests"}},
		"redirect":         {status: 302, header: map[string]string{"Location": "https://elsewhere.test/"}, body: `{}`, want: provision.APIError{Status: 302, Message: "Found"}},
		"claims challenge": {status: 401, header: map[string]string{"WWW-Authenticate": `Bearer error="insufficient_claims", claims=e30`}, body: `{}`, want: provision.APIError{Status: 401, Message: "Unauthorized"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range c.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			_, err := f.application()
			var got *provision.APIError
			require.ErrorAs(t, err, &got)
			assert.Equal(t, c.want, *got)
			assert.EqualValues(t, 1, f.requests.Load(), "nothing is retried")
		})
	}
}

// What leaves the outcome unknown is never an APIError, and never a success.
func TestUnknownOutcomes(t *testing.T) {
	t.Parallel()
	abort := func(w http.ResponseWriter, status int, body string) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	for name, h := range map[string]http.HandlerFunc{
		"cut at once":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"cut in an answer": func(w http.ResponseWriter, _ *http.Request) { abort(w, 200, `{"id":`) },
		"cut in an error":  func(w http.ResponseWriter, _ *http.Request) { abort(w, 400, `{"error":`) },
		"a page, not Graph": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<html>sign in to the Wi-Fi</html>")
		},
		"not JSON":    func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, `{"id":`) },
		"an array":    func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, `[]`) },
		"null":        func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, `null`) },
		"wrong types": func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, `{"id":5,"tags":"x"}`) },
		"empty":       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) },
		"larger than 16 MiB": func(w http.ResponseWriter, _ *http.Request) {
			answerJSON(w, 200, `{"id":"`+strings.Repeat("x", 17<<20)+`"}`)
		},
		"an unpacking bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, `{"id":"`)
			for range 64 {
				_, _ = z.Write(make([]byte, 1<<20))
			}
			_ = z.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, h)
			_, err := f.application()
			require.Error(t, err)
			var api *provision.APIError
			assert.False(t, errors.As(err, &api), "%v", err)

			_, err = f.AddPassword(t.Context(), "1", provision.PasswordRequest{DisplayName: "d"})
			require.Error(t, err)
			assert.False(t, errors.As(err, &api), "%v", err)
			assert.EqualValues(t, 2, f.requests.Load(), "nothing is retried")
		})
	}
}

// A write that is answered by something in between has not been done.
func TestWriteAnsweredByAPage(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") })
	name := "n"
	assert.Error(t, f.PatchApplication(t.Context(), "1", provision.ApplicationPatch{DisplayName: &name}))
	_, err := f.CreateApplication(t.Context(), provision.ApplicationPatch{DisplayName: &name})
	assert.Error(t, err)
	assert.Error(t, f.DeleteApplication(t.Context(), "1"))
}

func TestContextEndsACall(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	f := newFake(t, func(http.ResponseWriter, *http.Request) {
		cancel()
		<-release
	})
	t.Cleanup(func() { close(release) })
	_, errs := f.Applications(ctx, []provision.AppRef{{ObjectID: "1"}})
	require.ErrorIs(t, errs[0], context.Canceled)
}

// A token goes to Graph's own host and to no other, whatever a link says.
func TestLinkToAnotherHost(t *testing.T) {
	t.Parallel()
	stolen := make(chan string, 1)
	thief := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen <- r.Header.Get("Authorization") }))
	t.Cleanup(thief.Close)
	f := newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, 200, fmt.Sprintf(`{"value":[],"@odata.nextLink":%q}`, thief.URL+"/v1.0/next"))
	})
	_, errs := f.Assignments(t.Context(), []string{"1"})
	require.ErrorContains(t, errs[0], "refused to follow a page link to another host")
	assert.Empty(t, stolen)
}

func TestEndlessList(t *testing.T) {
	t.Parallel()
	var link string
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		link = "https://" + r.Host + r.URL.Path + "?$skiptoken=again"
		answerJSON(w, 200, fmt.Sprintf(`{"value":[],"@odata.nextLink":%q}`, link))
	})
	_, errs := f.Assignments(t.Context(), []string{"1"})
	require.ErrorContains(t, errs[0], "pages")
}

// $batch: answers come in any order, some with errors of their own, some not
// at all, with headers and numbers of any kind.
func TestBatchAnswers(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/v1.0/$batch", r.URL.Path)
		var in struct {
			Requests []struct{ ID, Method, URL string }
		}
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&in))
		if assert.Len(t, in.Requests, 5) {
			assert.Equal(t, "GET", in.Requests[0].Method)
			assert.True(t, strings.HasPrefix(in.Requests[0].URL, "/servicePrincipals(appId='a0')?$select=id,"), in.Requests[0].URL)
		}
		answerJSON(w, 200, `{"responses":[
			{"id":"4","status":200,"body":{"id":"o4","displayName":"four"}},
			{"id":"2","status":429,"headers":{"Retry-After":12,"X":null}},
			{"id":"1","status":404,"headers":{"Content-Type":"application/json"},"body":{"error":{"code":"Request_ResourceNotFound","message":"gone","innerError":{"request-id":"r"}}}},
			{"id":"9","status":200,"body":{}},
			{"id":"0","status":200,"body":{"id":"o0","accountEnabled":true}}]}`)
	})
	sps, errs := f.ServicePrincipals(t.Context(), []provision.PrincipalRef{{AppID: "a0"}, {AppID: "a1"}, {AppID: "a2"}, {AppID: "a3"}, {AppID: "a4"}})
	require.Len(t, sps, 5)
	require.NoError(t, errs[0])
	assert.Equal(t, provision.ServicePrincipal{ObjectID: "o0", AccountEnabled: true}, sps[0])
	var api *provision.APIError
	require.ErrorAs(t, errs[1], &api)
	assert.Equal(t, provision.APIError{Status: 404, Code: "Request_ResourceNotFound", Message: "gone", RequestID: "r"}, *api)
	require.ErrorAs(t, errs[2], &api)
	assert.Equal(t, 12*time.Second, api.RetryAfter)
	require.Error(t, errs[3])
	assert.False(t, errors.As(errs[3], &api), "an item without an answer is unknown")
	require.NoError(t, errs[4])
	assert.Equal(t, "o4", sps[4].ObjectID)
}

// The failure of a whole $batch is the error of each of its items.
func TestBatchFails(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, 503, `{"error":{"code":"down","message":"m"}}`)
	})
	_, errs := f.Applications(t.Context(), make45())
	for _, err := range errs {
		var api *provision.APIError
		require.ErrorAs(t, err, &api)
		assert.Equal(t, 503, api.Status)
	}
	assert.EqualValues(t, 3, f.requests.Load(), "45 items are 3 requests")
}

func make45() []provision.AppRef {
	refs := make([]provision.AppRef, 45)
	for i := range refs {
		refs[i].UniqueName = fmt.Sprintf("u%d", i)
	}
	return refs
}

func TestNew(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]msgraph.Config{
		"Credential": {},
		"Cloud":      {Credential: fixed("t"), Cloud: "mars"},
		"GraphURL":   {Credential: fixed("t"), GraphURL: "http://graph.example.com"},
		"absolute":   {Credential: fixed("t"), GraphURL: "graph.example.com"},
	} {
		_, err := msgraph.New(c)
		assert.ErrorContains(t, err, want)
	}
	for _, graph := range []string{"", "http://127.0.0.1:80", "http://127.0.0.2:80/", "http://[::1]:80", "https://graph.example.com"} {
		_, err := msgraph.New(msgraph.Config{Credential: fixed("t"), GraphURL: graph})
		assert.NoError(t, err, graph)
	}
}

// asked records what a credential is asked for.
type asked struct {
	fixed
	options chan policy.TokenRequestOptions
}

func (a asked) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	a.options <- o
	return a.fixed.GetToken(ctx, o)
}

// Each cloud's Graph is asked for with its own scope.
func TestClouds(t *testing.T) {
	t.Parallel()
	for cloud, graph := range map[string]string{
		"":          "https://graph.microsoft.com",
		"public":    "https://graph.microsoft.com",
		"usgov":     "https://graph.microsoft.us",
		"usgov-dod": "https://dod-graph.microsoft.us",
		"china":     "https://microsoftgraph.chinacloudapi.cn",
	} {
		credential := asked{"t", make(chan policy.TokenRequestOptions, 1)}
		var got *http.Request
		d, err := msgraph.New(msgraph.Config{Credential: credential, Cloud: cloud, HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			got = r
			return &http.Response{StatusCode: 204, Body: http.NoBody, Header: http.Header{}}, nil
		})}})
		require.NoError(t, err)
		require.NoError(t, d.DeleteApplication(t.Context(), "1"))
		assert.Equal(t, []string{graph + "/.default"}, (<-credential.options).Scopes)
		assert.Equal(t, graph+"/v1.0/applications/1", got.URL.String())
		assert.Equal(t, "Bearer t", got.Header.Get("Authorization"))
		assert.NotEmpty(t, got.Header.Get("Client-Request-Id"))
	}
}

// newSecret wraps a value as Entra would hand it out.
func newSecret(s string) provision.Secret { return secret.New(s) }

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// IDs that would address something else are refused before anything is sent.
func TestBadIDs(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(http.ResponseWriter, *http.Request) { t.Error("sent") })
	ctx := t.Context()
	for _, id := range []string{"", ".", "..", "%2e%2e", "a/b", "a?b", "a#b", "a\nb", "a b"} {
		assert.Error(t, f.DeleteApplication(ctx, id))
		assert.Error(t, f.DeleteServicePrincipal(ctx, id))
		assert.Error(t, f.Restore(ctx, id))
		assert.Error(t, f.Unassign(ctx, "1", id))
		assert.Error(t, f.Unassign(ctx, id, "1"))
		assert.Error(t, f.RemoveFederatedCredential(ctx, "1", id))
		assert.Error(t, f.RemovePassword(ctx, id, "8a2b7e04-6a64-4b3b-9f2a-4a5b8c7d6e5f"))
		assert.Error(t, f.PatchApplication(ctx, id, provision.ApplicationPatch{}))
		_, errs := f.FederatedCredentials(ctx, []string{id})
		assert.Error(t, errs[0])
		_, errs = f.Assignments(ctx, []string{id, id})
		assert.Error(t, errs[0])
		assert.Error(t, errs[1])
	}
	_, errs := f.Applications(ctx, []provision.AppRef{{}})
	assert.Error(t, errs[0])
	_, err := f.DeletedApplication(ctx, provision.AppRef{})
	assert.Error(t, err)
	_, _, err = f.UpsertServicePrincipal(ctx, "", provision.ServicePrincipalPatch{})
	assert.Error(t, err)
	assert.ErrorContains(t, f.RemovePassword(ctx, "1", "x"), "keyID")
	_, err = f.Assign(ctx, provision.Assignment{ResourceID: "x"})
	assert.ErrorContains(t, err, "PrincipalID")
}

// What is written to Graph, to the letter.
func TestPatchBody(t *testing.T) {
	t.Parallel()
	empty, none, version := "", []string(nil), 2
	for name, c := range map[string]struct {
		patch provision.ApplicationPatch
		want  string
	}{
		"nothing":           {provision.ApplicationPatch{}, `{}`},
		"an empty list":     {provision.ApplicationPatch{Tags: &none, IdentifierURIs: &[]string{}}, `{"tags":[],"identifierUris":[]}`},
		"empty collections": {provision.ApplicationPatch{AppRoles: new([]provision.AppRole), RequiredAccess: new([]provision.RequiredAccess), Keys: new([]provision.KeyCredential)}, `{"appRoles":[],"requiredResourceAccess":[],"keyCredentials":[]}`},
		"no description":    {provision.ApplicationPatch{Description: &empty}, `{"description":null}`},
		"token version":     {provision.ApplicationPatch{AccessTokenVersion: &version}, `{"api":{"requestedAccessTokenVersion":2}}`},
		"token version 0":   {provision.ApplicationPatch{AccessTokenVersion: new(int)}, `{"api":{"requestedAccessTokenVersion":null}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []byte
			f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
				assert.Empty(t, r.Header.Get("Content-Encoding"), "bodies are sent as they are")
				assert.Empty(t, r.TransferEncoding, "and whole")
				got, _ = io.ReadAll(r.Body)
				assert.EqualValues(t, len(got), r.ContentLength)
				w.WriteHeader(204)
			})
			require.NoError(t, f.PatchApplication(t.Context(), "1", c.patch))
			var body map[string]any
			require.NoError(t, json.Unmarshal(got, &body))
			delete(body, "@odata.type")
			plain, err := json.Marshal(body)
			require.NoError(t, err)
			assert.JSONEq(t, c.want, string(plain))
		})
	}
}

// An optional claim that keeps its name keeps its other properties, and the claims
// of other tokens stay.
func TestOptionalClaimsAreKept(t *testing.T) {
	t.Parallel()
	var body struct{ OptionalClaims map[string][]map[string]any }
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			answerJSON(w, 200, `{"id":"1","optionalClaims":{"idToken":[{"name":"email","essential":true}],"accessToken":[{"name":"groups","additionalProperties":["sam_account_name"]}]}}`)
			return
		}
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&body))
		w.WriteHeader(204)
	})
	require.NoError(t, f.PatchApplication(t.Context(), "1", provision.ApplicationPatch{AccessTokenClaims: &[]string{"groups", "idtyp"}}))
	claims := body.OptionalClaims
	require.Len(t, claims["accessToken"], 2)
	assert.Equal(t, "groups", claims["accessToken"][0]["name"])
	assert.Equal(t, []any{"sam_account_name"}, claims["accessToken"][0]["additionalProperties"])
	assert.Equal(t, "idtyp", claims["accessToken"][1]["name"])
	require.Len(t, claims["idToken"], 1)
	assert.Equal(t, true, claims["idToken"][0]["essential"])
}

// No answer makes the package panic, and what it reads it reads twice alike.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"id":"1","appRoles":[{"id":"8a2b7e04-6a64-4b3b-9f2a-4a5b8c7d6e5f"},null],"tags":[null],"api":{"requestedAccessTokenVersion":2}}`))
	f.Add([]byte(`{"value":[null,{"@odata.type":"#microsoft.graph.directoryRole"}],"responses":[{"id":"0"}]}`))
	var body []byte
	d, err := msgraph.New(msgraph.Config{Credential: fixed("a.e30.c"), HTTPClient: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}},
			ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(string(body)))}, nil
	})}})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, in []byte) {
		body = in
		ref := []provision.AppRef{{ObjectID: "1"}}
		first, errs := d.Applications(t.Context(), ref)
		second, _ := d.Applications(t.Context(), ref)
		assert.Equal(t, first, second)
		if errs[0] != nil {
			assert.Equal(t, provision.Application{}, first[0], "an error comes with nothing else")
		}
		_, _ = d.Applications(t.Context(), append(ref, ref...))
		_, _ = d.ServicePrincipals(t.Context(), []provision.PrincipalRef{{AppID: "1"}})
		_, _ = d.FederatedCredentials(t.Context(), []string{"1"})
		_, _ = d.AddPassword(t.Context(), "1", provision.PasswordRequest{})
		_, _ = d.CreateApplication(t.Context(), provision.ApplicationPatch{})
		_, _ = d.DeletedApplication(t.Context(), provision.AppRef{UniqueName: "u"})
	})
}
