package middleware

import (
	"net/http"
	"slices"
	"strings"
)

// WebSocketOnly wraps a proxy, such as [net/http/httputil.ReverseProxy], and prevents
// callers from switching to another protocol than WebSocket (RFC 6455).
//
// A gate decides on one request. If a proxy forwards "Upgrade: h2c" to a server that
// supports HTTP/2 without TLS, it opens a tunnel. Through the tunnel the caller can send
// any further request to any API of that server, with any header. Gate and proxy do not
// see these requests, even after access was revoked. So put this handler between gate
// and proxy:
//
//	guarded := gate.Wrap(middleware.WebSocketOnly(proxy))
//
// A WebSocket handshake keeps its Upgrade header: GET, HTTP/1.1, without a body, with
// "websocket" as the only protocol. From any other request WebSocketOnly removes the
// Upgrade header, as RFC 9110 section 7.8 allows, so that the server answers without a
// switch. It always removes HTTP2-Settings, and answers CONNECT with 405.
//
// It does not read the messages of a WebSocket, and does not check Origin: a server that
// accepts cookies must check it.
func WebSocketOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			http.Error(w, "CONNECT is not supported.", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, withoutUpgrade(r))
	})
}

// upgradeHeaders are the headers with which a caller requests another protocol.
var upgradeHeaders = []string{"Upgrade", "Http2-Settings"}

// withoutUpgrade returns r, or a copy that requests no other protocol than WebSocket.
func withoutUpgrade(r *http.Request) *http.Request {
	_, upgrade := r.Header["Upgrade"]
	_, settings := r.Header["Http2-Settings"]
	if !upgrade && !settings {
		return r
	}
	remove := upgradeHeaders
	if isWebSocket(r) {
		if !settings {
			return r
		}
		remove = upgradeHeaders[1:]
	}
	out := r.WithContext(r.Context())
	out.Header = r.Header.Clone()
	for _, name := range remove {
		delete(out.Header, name)
	}
	var kept []string
	for option := range connectionOptions(r) {
		if !slices.ContainsFunc(remove, func(name string) bool { return strings.EqualFold(name, option) }) {
			kept = append(kept, option)
		}
	}
	delete(out.Header, "Connection")
	if len(kept) > 0 {
		out.Header.Set("Connection", strings.Join(kept, ", "))
	}
	return out
}

// isWebSocket reports whether r is the handshake of a WebSocket and of nothing
// else (RFC 6455 section 4.1).
func isWebSocket(r *http.Request) bool {
	protocols := r.Header["Upgrade"]
	if len(protocols) != 1 || !strings.EqualFold(strings.TrimSpace(protocols[0]), "websocket") {
		return false
	}
	if r.Method != http.MethodGet || r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		return false
	}
	for option := range connectionOptions(r) {
		if strings.EqualFold(option, "Upgrade") {
			return true
		}
	}
	return false
}

// connectionOptions yields the options of the Connection header (RFC 9110
// section 7.6.1).
func connectionOptions(r *http.Request) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, field := range r.Header["Connection"] {
			for option := range strings.SplitSeq(field, ",") {
				if option = strings.TrimSpace(option); option != "" && !yield(option) {
					return
				}
			}
		}
	}
}
