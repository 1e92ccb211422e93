package loopback

import (
	"io"
	"net"
	"net/http"
)

// ServeProxy serves an HTTP proxy on a free loopback port. It answers CONNECT for
// the given hosts, such as "graph.microsoft.com:443", with a connection to an
// address of this machine, and refuses every other request, so that nothing leaves
// the machine.
func ServeProxy(addresses map[string]string) (*Server, error) {
	return Serve(nil, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address, known := addresses[r.Host]
		if r.Method != http.MethodConnect || !known {
			http.Error(w, "expected CONNECT to a known host", http.StatusForbidden)
			return
		}
		server, err := net.Dial("tcp", address)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer server.Close()
		client, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer client.Close()
		_, _ = io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() {
			_, _ = io.Copy(server, buffered)
			_ = server.(*net.TCPConn).CloseWrite()
		}()
		_, _ = io.Copy(client, server)
	}))
}
