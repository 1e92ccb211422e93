package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorder is an API that keeps the last request.
type recorder struct {
	*httptest.Server
	mu   sync.Mutex
	last *http.Request
}

func record(t testing.TB) *recorder {
	t.Helper()
	rec := &recorder{}
	rec.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		rec.mu.Lock()
		rec.last = r
		rec.mu.Unlock()
		w.Header().Set("Access-Control-Allow-Origin", "https://api-own.example")
		w.Header().Set("X-Order", "7")
	}))
	t.Cleanup(rec.Close)
	return rec
}

func (r *recorder) got(t testing.TB) *http.Request {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	require.NotNil(t, r.last, "nothing reached the API")
	got := r.last
	r.last = nil
	return got
}

// The API receives the path as the caller spelled it, without the API's prefix.
func TestPathAsSent(t *testing.T) {
	t.Parallel()
	backend := record(t)
	s := openShop(t, map[string]string{"orders": backend.URL + "/v2%2Cx/", "bare": backend.URL}, nil)
	for sent, want := range map[string]string{
		"/orders/a%3Bb":          "/v2%2Cx/a%3Bb",
		"/orders/a%2Cb,c":        "/v2%2Cx/a%2Cb,c",
		"/orders/f('x')":         "/v2%2Cx/f('x')",
		"/orders/f%28%27x%27%29": "/v2%2Cx/f%28%27x%27%29",
		"/orders/a%20b+c":        "/v2%2Cx/a%20b+c",
		"/orders/%C3%A9":         "/v2%2Cx/%C3%A9",
		"/orders/a;b=1":          "/v2%2Cx/a;b=1",
		"/orders/":               "/v2%2Cx/",
		"/orders":                "/v2%2Cx",
		"/bare/a!$&'()*+,=:@":    "/a!$&'()*+,=:@",
		"/bare":                  "/",
	} {
		_, resp := s.raw(t, "GET "+sent+"?q=%2C,&x=a%20b HTTP/1.1\r\nHost: x\r\nOcp-Apim-Subscription-Key: "+s.key+"\r\n\r\n")
		require.Equal(t, http.StatusOK, resp.StatusCode, sent)
		assert.Equal(t, want+"?q=%2C,&x=a%20b", backend.got(t).RequestURI, sent)
	}
}

// The gateway answers 400 to a malformed body, and 502 when the API is down.
func TestMalformedChunks(t *testing.T) {
	t.Parallel()
	backend := record(t)
	s := openShop(t, map[string]string{"orders": backend.URL, "dead": "http://127.0.0.1:1"}, nil)
	head := func(api string) string {
		return "POST /" + api + " HTTP/1.1\r\nHost: x\r\nOcp-Apim-Subscription-Key: " + s.key + "\r\nTransfer-Encoding: chunked\r\n\r\n"
	}
	for name, body := range map[string]string{
		"no length": "zz\r\nabc\r\n", "negative": "-1\r\nabc\r\n", "too long": "3\r\nabcdef\r\n0\r\n\r\n", "huge": "fffffffffffffffff\r\nx\r\n",
	} {
		_, resp := s.raw(t, head("orders")+body)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, http.StatusBadRequest, resp.StatusCode, name)
		assert.JSONEq(t, `{"statusCode":400,"message":"The request's body is malformed."}`, string(text), name)
	}
	_, resp := s.raw(t, head("orders")+"3\r\nabc\r\n0\r\n\r\n")
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	_, resp = s.raw(t, head("dead")+"3\r\nabc\r\n0\r\n\r\n")
	assert.Equal(t, http.StatusBadGateway, resp.StatusCode)
}

var lies = []string{
	"X-Forwarded-For", "1.2.3.4", "X-Forwarded-Proto", "gopher", "X-Forwarded-Host", "evil.example", "X-Forwarded-Prefix", "/evil", "Forwarded", "for=1.2.3.4",
	"X-Real-IP", "1.2.3.4", "X_Real_IP", "1.2.3.4", "X-Original-URL", "/admin", "X-Rewrite-URL", "/admin", "X-HTTP-Method-Override", "DELETE",
	"X-Forwarded-Port", "1", "True-Client-IP", "1.2.3.4", "X-Method-Override", "DELETE",
	"X.Forwarded.For", "1.2.3.4", "X-Forwarded-User", "evil", "X-Forwarded-Client-Cert", "evil", "X-Original~URI", "/admin",
	"X-MS-CLIENT-PRINCIPAL-NAME", "evil", "Proxy", "http://evil.example", "Entragate.Client", "evil", "Entragate_Owner", "evil",
}

// What a stranger says of itself reaches no API.
func TestForwardingHeadersOfStrangers(t *testing.T) {
	t.Parallel()
	backend := record(t)
	s := openShop(t, map[string]string{"orders": backend.URL}, func(o *options) { o.Trusted = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	require.Equal(t, http.StatusOK, s.get(t, "/orders/x", lies...).StatusCode)
	got := backend.got(t)
	assert.Equal(t, "127.0.0.1", got.Header.Get("X-Forwarded-For"))
	assert.Equal(t, "http", got.Header.Get("X-Forwarded-Proto"))
	assert.Equal(t, s.address, got.Header.Get("X-Forwarded-Host"))
	assert.Equal(t, "/orders", got.Header.Get("X-Forwarded-Prefix"))
	for name, values := range got.Header {
		for _, lie := range []string{"1.2.3.4", "evil", "/admin", "DELETE", "gopher"} {
			assert.NotContains(t, strings.Join(values, " "), lie, name)
		}
	}
	assert.NotContains(t, got.Header, "X-Forwarded-Port")
	_, resp := s.raw(t, "POST /orders/x HTTP/1.1\r\nHost: x\r\nOcp-Apim-Subscription-Key: "+s.key+
		"\r\nTransfer-Encoding: chunked\r\nTrailer: Entragate-Client\r\n\r\n3\r\nabc\r\n0\r\nEntragate-Client: evil\r\n\r\n")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Empty(t, backend.got(t).Trailer)
}

// A trusted proxy is believed for address, scheme, host and prefix, and for
// nothing else.
func TestForwardingHeadersOfTrustedProxies(t *testing.T) {
	t.Parallel()
	backend := record(t)
	for name, tt := range map[string]struct {
		public string
		sent   []string
		want   http.Header
	}{
		"all": {"", []string{"X-Forwarded-For", "9.9.9.9, 8.8.8.8", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "api.contoso.com", "X-Forwarded-Prefix", "/shop/"},
			http.Header{"X-Forwarded-For": {"9.9.9.9, 8.8.8.8, 127.0.0.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"api.contoso.com"}, "X-Forwarded-Prefix": {"/shop/orders"}}},
		"a list": {"", []string{"X-Forwarded-Proto", "gopher, https", "X-Forwarded-Host", "evil.example, api.contoso.com"},
			http.Header{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"api.contoso.com"}, "X-Forwarded-Prefix": {"/orders"}}},
		"PUBLIC_URL": {"https://api.fabrikam.com/v1", []string{"X-Forwarded-Proto", "http", "X-Forwarded-Host", "inner"},
			http.Header{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"api.fabrikam.com"}, "X-Forwarded-Prefix": {"/v1/orders"}}},
	} {
		s := openShop(t, map[string]string{"orders": backend.URL}, func(o *options) {
			o.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			o.Gate.Resource = tt.public
		})
		require.Equal(t, http.StatusOK, s.get(t, "/orders/x", append(tt.sent, lies[10:]...)...).StatusCode, name)
		got := backend.got(t)
		for header, want := range tt.want {
			assert.Equal(t, want, got.Header[header], "%s: %s", name, header)
		}
		for _, header := range []string{"X-Real-Ip", "X_real_ip", "X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "X-Method-Override"} {
			assert.NotContains(t, got.Header, header, name)
		}
	}
}

func TestParseProxies(t *testing.T) {
	t.Parallel()
	list, err := parseProxies(" 10.1.2.3/8, 192.0.2.7 ,2001:db8::/32,")
	require.NoError(t, err)
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32")}, list)
	_, err = parseProxies("10.0.0.0/99")
	assert.ErrorContains(t, err, "TRUSTED_PROXIES")
}

// terminator is a TLS proxy that hands HTTP/2 on without TLS, as load balancers
// do for gRPC.
func terminator(t testing.TB, address string) *httptest.Server {
	t.Helper()
	transport := &http.Transport{Protocols: &http.Protocols{}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	srv := httptest.NewUnstartedServer(&httputil.ReverseProxy{Transport: transport, Rewrite: func(pr *httputil.ProxyRequest) {
		pr.SetURL(&url.URL{Scheme: "http", Host: address})
		pr.SetXForwarded()
	}})
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{NextProtos: []string{"h2"}}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}
