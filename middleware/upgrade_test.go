package middleware_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/entragate/entragate/middleware"
)

func TestWebSocketOnly(t *testing.T) {
	t.Parallel()
	webSocket := http.Header{"Upgrade": {"WebSocket"}, "Connection": {"keep-alive, Upgrade"}, "Sec-Websocket-Key": {"x"}}
	with := func(name string, values ...string) http.Header {
		h := webSocket.Clone()
		h[name] = values
		return h
	}
	for name, tt := range map[string]struct {
		change     func(*http.Request)
		header     http.Header
		upgrade    []string
		connection string
	}{
		"a WebSocket":            {header: webSocket, upgrade: []string{"WebSocket"}, connection: "keep-alive, Upgrade"},
		"h2c":                    {header: with("Upgrade", "h2c"), connection: "keep-alive"},
		"h2c beside it":          {header: with("Upgrade", "websocket, h2c"), connection: "keep-alive"},
		"h2c in a second field":  {header: with("Upgrade", "websocket", "h2c"), connection: "keep-alive"},
		"a version":              {header: with("Upgrade", "websocket/13"), connection: "keep-alive"},
		"an unknown protocol":    {header: with("Upgrade", "TLS/1.0"), connection: "keep-alive"},
		"an empty protocol":      {header: with("Upgrade", ""), connection: "keep-alive"},
		"no option":              {header: with("Connection", "close"), connection: "close"},
		"options in two fields":  {header: with("Connection", "close", "upgrade"), upgrade: []string{"WebSocket"}, connection: "close"},
		"only options to remove": {header: http.Header{"Upgrade": {"h2c"}, "Connection": {"Upgrade, HTTP2-Settings"}}},
		"POST":                   {header: webSocket, change: func(r *http.Request) { r.Method = http.MethodPost }, connection: "keep-alive"},
		"HTTP/1.0":               {header: webSocket, change: func(r *http.Request) { r.ProtoMinor = 0 }, connection: "keep-alive"},
		"HTTP/2":                 {header: webSocket, change: func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 2, 0 }, connection: "keep-alive"},
		"a body": {header: webSocket, connection: "keep-alive", change: func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), 1
		}},
		"a chunked body":          {header: webSocket, change: func(r *http.Request) { r.ContentLength = -1 }, connection: "keep-alive"},
		"settings beside it":      {header: with("Http2-Settings", "AAA"), upgrade: []string{"WebSocket"}, connection: "keep-alive, Upgrade"},
		"settings without switch": {header: http.Header{"Http2-Settings": {"AAA"}, "Connection": {"HTTP2-Settings, x"}}, connection: "x"},
		"neither":                 {header: http.Header{"Connection": {"close"}}, connection: "close"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/x", nil)
		r.Header = tt.header.Clone()
		if tt.change != nil {
			tt.change(r)
		}
		w := httptest.NewRecorder()
		middleware.WebSocketOnly(http.HandlerFunc(func(_ http.ResponseWriter, got *http.Request) {
			assert.Equal(t, tt.upgrade, got.Header["Upgrade"], name)
			assert.Equal(t, tt.connection, got.Header.Get("Connection"), name)
			assert.NotContains(t, got.Header, "Http2-Settings", name)
			w.Code = http.StatusTeapot
		})).ServeHTTP(w, r)
		assert.Equal(t, http.StatusTeapot, w.Code, name)
		assert.Equal(t, tt.header, r.Header, "%s: the caller's request stays", name)
	}
	w := httptest.NewRecorder()
	middleware.WebSocketOnly(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(http.MethodConnect, "/x", nil))
	assert.Equal(t, http.StatusMethodNotAllowed, w.Code)
}
