package loopback_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/entragate/entragate/internal/loopback"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestServe(t *testing.T) {
	t.Parallel()
	ca, err := loopback.NewCA()
	require.NoError(t, err)
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })

	for _, ca := range []*loopback.CA{ca, nil} {
		s, err := loopback.Serve(ca, "127.0.0.1:0", hello)
		require.NoError(t, err)
		tr := &http.Transport{}
		if ca != nil {
			tr.TLSClientConfig = ca.ClientTLS()
		}
		client := &http.Client{Transport: tr}
		resp, err := client.Get(s.URL)
		require.NoError(t, err)
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		assert.Equal(t, "hello", string(body))
		require.NoError(t, s.Close())
		_, err = client.Get(s.URL) //nolint:bodyclose // it fails
		assert.Error(t, err)
	}
}

func TestOnlyItsOwnAuthorityIsTrusted(t *testing.T) {
	t.Parallel()
	ca, err := loopback.NewCA()
	require.NoError(t, err)
	other, err := loopback.NewCA()
	require.NoError(t, err)
	s, err := loopback.Serve(ca, "127.0.0.1:0", http.NotFoundHandler())
	require.NoError(t, err)
	defer s.Close()

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: other.ClientTLS()}}
	_, err = client.Get(s.URL) //nolint:bodyclose // it fails
	var unknown *tls.CertificateVerificationError
	assert.ErrorAs(t, err, &unknown)
}

// Clients find a leaf's authority by its key: all authorities have one name.
func TestLeafNamesTheKeyOfItsAuthority(t *testing.T) {
	t.Parallel()
	ca, err := loopback.NewCA()
	require.NoError(t, err)
	s, err := loopback.Serve(ca, "127.0.0.1:0", http.NotFoundHandler())
	require.NoError(t, err)
	defer s.Close()
	block, _ := pem.Decode(ca.PEM())
	root, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL, "https://"), ca.ClientTLS())
	require.NoError(t, err)
	defer conn.Close()
	leaf := conn.ConnectionState().PeerCertificates[0]
	assert.NotEmpty(t, root.SubjectKeyId)
	assert.Equal(t, root.SubjectKeyId, leaf.AuthorityKeyId)
}

func TestServeRefusesOtherAddresses(t *testing.T) {
	t.Parallel()
	_, err := loopback.Serve(nil, "0.0.0.0:0", http.NotFoundHandler())
	assert.ErrorContains(t, err, "not a loopback address")
}
