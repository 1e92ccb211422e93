// Package testkit has what the tests of several packages need: a clock that only a
// test moves, a log that can be read while others write to it, and certificates.
package testkit

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"sync"
	"sync/atomic"
	"time"
)

// Clock is a time that only a test moves. It is safe for concurrent use.
type Clock struct{ at atomic.Int64 }

// NewClock returns a clock that shows a time.
func NewClock(at time.Time) *Clock {
	c := &Clock{}
	c.Set(at)
	return c
}

// Now returns the time of the clock, in UTC.
func (c *Clock) Now() time.Time { return time.Unix(0, c.at.Load()).UTC() }

// Set moves the clock to a time.
func (c *Clock) Set(at time.Time) { c.at.Store(at.UnixNano()) }

// Advance moves the clock by a duration.
func (c *Clock) Advance(d time.Duration) { c.at.Add(int64(d)) }

// Sleep moves the clock by a duration and returns at once. If the context has ended,
// it returns the context's error and does not move the clock.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.Advance(d)
	return nil
}

// Log keeps what is written to it. A gate, a catalog and a client also log from
// goroutines of their own, so a test must not read their log from a bytes.Buffer.
// The zero value is empty; it is safe for concurrent use.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write keeps p.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns all that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Logger returns a logger that writes a line of text for each record of at least a
// level.
func (l *Log) Logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
}

// Certificate returns a self-signed certificate of a key.
func Certificate(key crypto.Signer, name string, from, until time.Time) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err) // a key that cannot sign is a mistake of the test
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return certificate
}

// CertificatePEM returns a certificate of a new ECDSA key as PEM. Nobody has the key.
func CertificatePEM(from, until time.Time) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: Certificate(key, "client", from, until).Raw}))
}
