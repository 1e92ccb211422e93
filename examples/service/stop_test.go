package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pipes is a listener without a network, so that a synctest bubble can tell
// when everybody waits.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A request that is in flight when the service is to stop gets its answer
// before run returns and the process ends; one that takes too long is cut off.
func TestStopLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	for name, finishes := range map[string]bool{"finishes": true, "takes too long": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begun, release := make(chan struct{}), make(chan struct{})
				server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					close(begun)
					<-release
					_, _ = io.WriteString(w, "done")
				})}
				listener := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				ended := make(chan error, 1)
				go func() { ended <- serve(ctx, server, listener) }()

				client, conn := net.Pipe()
				defer client.Close()
				listener.conns <- conn
				_, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				require.NoError(t, err)
				<-begun
				began := time.Now()
				stop()
				synctest.Wait()
				assert.Empty(t, ended, "it waits for the request")
				if !finishes {
					assert.ErrorIs(t, <-ended, context.DeadlineExceeded)
					assert.Equal(t, grace, time.Since(began))
					close(release)
					return
				}
				time.Sleep(grace / 2) // in the bubble
				close(release)
				resp, err := http.ReadResponse(bufio.NewReader(client), nil)
				require.NoError(t, err)
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				assert.Equal(t, "done", string(body))
				assert.NoError(t, <-ended)
			})
		})
	}
}
