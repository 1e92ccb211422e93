package pgtest

import (
	"context"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Proxy forwards connections between a test and the server, and can cut them.
// Its methods are safe for concurrent use.
type Proxy struct {
	// DSN is the connection string of the way through the proxy.
	DSN string

	network, address string
	mu               sync.Mutex
	cut              bool
	silent           chan struct{} // not nil: bytes wait until it is closed
	conns            map[net.Conn]bool
}

// NewProxy starts a proxy to the server that dsn names. It ends with the test.
func NewProxy(t testing.TB, dsn string) *Proxy {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatalf("PostgreSQL: %v", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	p := &Proxy{conns: map[net.Conn]bool{}}
	p.network, p.address = network(config.Host, config.Port)
	host, port, _ := net.SplitHostPort(listener.Addr().String())
	p.DSN = With(With(dsn, "host", host), "port", port)
	t.Cleanup(func() {
		_ = listener.Close()
		p.Cut()
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return p
}

func network(host string, port uint16) (network, address string) {
	if host != "" && host[0] == '/' {
		return "unix", host + "/.s.PGSQL." + strconv.Itoa(int(port))
	}
	return "tcp", net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// Cut closes all connections and refuses new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		_ = c.Close()
	}
}

// Silence keeps connections open and forwards no byte.
func (p *Proxy) Silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent == nil {
		p.silent = make(chan struct{})
	}
}

// Restore undoes Cut and Silence.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
	if p.silent != nil {
		close(p.silent)
		p.silent = nil
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	if !p.add(client) {
		return
	}
	defer p.drop(client)
	server, err := (&net.Dialer{}).DialContext(context.Background(), p.network, p.address)
	if err != nil || !p.add(server) {
		return
	}
	defer p.drop(server)
	go p.pass(server, client)
	p.pass(client, server)
}

func (p *Proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		_ = c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = c.Close()
	delete(p.conns, c)
}

// pass copies until either side ends, and then ends the other.
func (p *Proxy) pass(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	_, _ = io.Copy(gate{to, p}, from)
}

// gate is a writer that waits while its proxy is silent.
type gate struct {
	net.Conn
	p *Proxy
}

func (g gate) Write(b []byte) (int, error) {
	g.p.mu.Lock()
	silent := g.p.silent
	g.p.mu.Unlock()
	if silent != nil {
		<-silent
	}
	return g.Conn.Write(b)
}
