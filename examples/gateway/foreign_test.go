package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// report is what testdata/backend.py says of a request.
type report struct {
	Version, Method, Path, Query string
	Headers                      [][2]string
}

func (r report) header(name string) (values []string) {
	for _, h := range r.Headers {
		if h[0] == name {
			values = append(values, h[1])
		}
	}
	return values
}

func decode(t testing.TB, resp *http.Response) (r report) {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", body)
	require.NoError(t, json.Unmarshal(body, &r), "%s", body)
	return r
}

// A server that switches to HTTP/2 without TLS is not asked to: in that tunnel a
// caller would reach its other APIs, as anybody, also after access was revoked.
func TestUpgradeToHTTP2IsNotForwarded(t *testing.T) {
	t.Parallel()
	backend := hypercorn(t)
	s := openShop(t, map[string]string{"orders": "http://" + backend + "/v2"}, nil)
	for name, header := range map[string]string{
		"as RFC 7540 says": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
		"settings kept":    "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
		"beside websocket": "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
		"other case":       "connection: upgrade\r\nupgrade: H2C\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
	} {
		_, resp := s.raw(t, "GET /orders/x HTTP/1.1\r\nHost: x\r\nOcp-Apim-Subscription-Key: "+s.key+"\r\n"+header+"\r\n")
		got := decode(t, resp)
		assert.Equal(t, "1.1", got.Version, name)
		assert.Equal(t, "/v2/x", got.Path, name)
		assert.Empty(t, got.header("upgrade"), name)
		assert.Empty(t, got.header("http2-settings"), name)
	}
}

// webSocket is the handshake of a WebSocket (RFC 6455 section 1.3).
func webSocket(key string) string {
	return "GET /orders/x HTTP/1.1\r\nHost: x\r\nOcp-Apim-Subscription-Key: " + key + "\r\nConnection: keep-alive, Upgrade\r\n" +
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

// A WebSocket passes in both directions.
func TestWebSocketIsForwarded(t *testing.T) {
	t.Parallel()
	s := openShop(t, map[string]string{"orders": "http://" + hypercorn(t)}, nil)
	conn, resp := s.raw(t, webSocket(s.key))
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	assert.Equal(t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", resp.Header.Get("Sec-WebSocket-Accept"))
	_, err := conn.Write([]byte{0x81, 0x82, 0, 0, 0, 0, 'h', 'i'}) // a masked text frame
	require.NoError(t, err)
	frame := make([]byte, 4)
	_, err = io.ReadFull(conn, frame)
	require.NoError(t, err)
	assert.Equal(t, []byte{0x81, 2, 'h', 'i'}, frame)
}

// suspend ends the access of the shop's key.
func (s *shop) suspend(t testing.TB) {
	t.Helper()
	_, err := s.service.SetSubscriptionState(t.Context(), manager, "sub", appaccess.SubscriptionSuspended)
	require.NoError(t, err)
}

// A stream of events ends when access is revoked, though the API goes on.
func TestEventStreamEndsWithAccess(t *testing.T) {
	t.Parallel()
	s := openShop(t, map[string]string{"orders": "http://" + hypercorn(t)}, nil)
	resp := s.get(t, "/orders/events")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	events := bufio.NewReader(resp.Body)
	line, err := events.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "data: x\n", line)
	s.suspend(t)
	_, err = io.Copy(io.Discard, events)
	t.Log("the stream ended with", err)
	assert.Equal(t, http.StatusUnauthorized, s.get(t, "/orders/x").StatusCode)
}

// So does a WebSocket.
func TestWebSocketEndsWithAccess(t *testing.T) {
	t.Parallel()
	s := openShop(t, map[string]string{"orders": "http://" + hypercorn(t)}, nil)
	conn, resp := s.raw(t, webSocket(s.key))
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	s.suspend(t)
	_, err := io.Copy(io.Discard, conn)
	var timeout net.Error
	assert.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the gateway closes the connection: %v", err)
}

// An API that ignores letter case gives the same answer for /Admin and /admin. So the
// gateway does not pass a path that differs only in case from the path of another API
// or operation.
func TestLetterCaseOpensNothing(t *testing.T) {
	t.Parallel()
	backend := express(t)
	const keyHeader = "Ocp-Apim-Subscription-Key"
	read := func(resp *http.Response) string {
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body)
	}
	s := openShop(t, map[string]string{"orders": backend, "notes": backend}, nil)
	resp, err := s.client.Get(backend + "/ADMIN")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, "admin", read(resp), "the API itself ignores letter case")

	// This API is in no product: for callers it does not exist.
	_, err = s.service.CreateAPI(t.Context(), manager, appaccess.APIRequest{ID: "orders-admin", Name: "Administration", Path: "/orders/admin", ServiceURL: backend + "/admin"})
	require.NoError(t, err)
	_, err = s.service.SetOperations(t.Context(), manager, "notes", []appaccess.Operation{{ID: "note", Method: "GET", Path: "/{id}"}, {ID: "admin", Method: "GET", Path: "/admin"}}, 0)
	require.NoError(t, err)
	_, err = s.service.SetEnforcement(t.Context(), manager, "notes", appaccess.EnforceOperations, 0)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		now := s.catalog.Snapshot()
		return now.API("orders-admin") != nil && now.API("notes").Enforcement == appaccess.EnforceOperations
	}, patience, tick)

	assert.Equal(t, "admin", read(s.get(t, "/notes/admin", keyHeader, s.key)), "the operation itself")
	assert.Equal(t, http.StatusNotFound, s.get(t, "/orders/admin", keyHeader, s.key).StatusCode, "the API itself")
	for _, api := range []string{"/orders", "/notes"} {
		assert.Equal(t, "order 7", read(s.get(t, api+"/7", keyHeader, s.key)), api)
		for _, path := range []string{"/Admin", "/ADMIN", "/%41dmin", "/admin/", "/Admin/", "/admin.", "/admin%20", "/%2561dmin"} {
			resp := s.get(t, api+path, keyHeader, s.key)
			assert.NotEqual(t, "admin", read(resp), api+path)
			assert.GreaterOrEqual(t, resp.StatusCode, 400, api+path)
		}
	}
}
