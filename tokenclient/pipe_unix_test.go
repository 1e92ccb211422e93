//go:build unix

package tokenclient_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/tokenclient"
)

// Reading a pipe that nobody writes, as on a mount that hangs, ends with
// Timeout, and Close does not wait for it.
func TestCredentialFileThatHangs(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	t.Cleanup(func() { // lets the readers end
		fd, err := syscall.Open(pipe, syscall.O_RDWR|syscall.O_NONBLOCK, 0)
		if assert.NoError(t, err) {
			_ = syscall.Close(fd)
		}
	})
	base := tokenclient.Config{TenantID: tenant, ClientID: clientID, Timeout: 20 * time.Millisecond}
	for name, credential := range map[string]tokenclient.Credential{
		"secret": tokenclient.SecretFile(pipe), "assertion": tokenclient.AssertionFile(pipe), "certificate": tokenclient.CertificateFile(pipe, pipe),
	} {
		cfg := base
		cfg.Credential = credential
		_, err := tokenclient.New(cfg)
		require.ErrorIs(t, err, context.DeadlineExceeded, name)
		require.ErrorContains(t, err, "Credential: ", name)
		require.ErrorContains(t, err, pipe, name)
	}

	key := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(key, []byte("k"), 0o600))
	tr, err := tokenclient.NewTransport(tokenclient.TransportConfig{Hosts: []string{"api.contoso.com"}, SubscriptionKey: tokenclient.SecretFile(key)})
	require.NoError(t, err)
	require.NoError(t, os.Remove(key))
	require.NoError(t, os.Symlink(pipe, key))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://api.contoso.com", nil)
	require.NoError(t, err)
	_, err = tr.RoundTrip(req)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
