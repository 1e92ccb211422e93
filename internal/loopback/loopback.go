// Package loopback serves TLS on this machine with a certificate authority that
// lives as long as the process: its key is never written anywhere, so trusting
// its certificate in a program's own pool opens nothing to anyone else.
package loopback

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"time"
)

// CA is a certificate authority with one leaf for 127.0.0.1, ::1 and
// localhost. It is immutable and safe for concurrent use.
type CA struct {
	root *x509.Certificate
	leaf tls.Certificate
}

// IsName reports whether a host name is one of this machine's own: those that an
// authority's leaf is for.
func IsName(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// NewCA makes an authority that is valid for a day. Its leaf is for names too.
func NewCA(names ...string) (*CA, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("loopback: %w", err)
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("loopback: %w", err)
	}
	root := template("entragate loopback authority")
	root.IsCA, root.BasicConstraintsValid = true, true
	root.KeyUsage = x509.KeyUsageCertSign
	root.MaxPathLenZero = true
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		return nil, fmt.Errorf("loopback: %w", err)
	}
	cert, err := x509.ParseCertificate(rootDER)
	if err != nil {
		return nil, fmt.Errorf("loopback: %w", err)
	}
	leaf := template("localhost")
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf.DNSNames = append([]string{"localhost"}, names...)
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	// The parsed certificate has a key ID, which the leaf repeats: a client that trusts
	// several authorities, all with this name, then finds the right one.
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, cert, leafKey.Public(), rootKey)
	if err != nil {
		return nil, fmt.Errorf("loopback: %w", err)
	}
	return &CA{root: cert, leaf: tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: leafKey}}, nil
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name, Organization: []string{"entragate on this machine"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
	}
}

// PEM is the certificate to trust.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.root.Raw})
}

// ClientTLS trusts this authority and no other.
func (ca *CA) ClientTLS() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(ca.root)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// Server is an HTTP server on a free loopback port.
type Server struct {
	URL string // https://127.0.0.1:port, or http://
	srv *http.Server
	end chan struct{}
}

// Serve serves h on addr, which must name a loopback host; port 0 picks a free
// one. A nil authority serves plain HTTP. Close ends it.
func Serve(ca *CA, addr string, h http.Handler) (*Server, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("loopback: %w", err)
	}
	if tcp, ok := ln.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		_ = ln.Close()
		return nil, fmt.Errorf("loopback: %s is not a loopback address", addr)
	}
	s := &Server{
		URL: "http://" + ln.Addr().String(),
		srv: &http.Server{
			Handler:           h,
			ReadHeaderTimeout: 10 * time.Second,
			// Connections that a client or a fault cuts are no news here.
			ErrorLog: log.New(io.Discard, "", 0),
		},
		end: make(chan struct{}),
	}
	if ca != nil {
		s.URL = "https://" + ln.Addr().String()
		s.srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{ca.leaf}, MinVersion: tls.VersionTLS12}
	}
	go func() {
		defer close(s.end)
		if ca != nil {
			_ = s.srv.ServeTLS(ln, "", "")
		} else {
			_ = s.srv.Serve(ln)
		}
	}()
	return s, nil
}

// Close ends the server at once, connections included, and waits for its
// goroutine.
func (s *Server) Close() error {
	err := s.srv.Close()
	<-s.end
	return err
}
