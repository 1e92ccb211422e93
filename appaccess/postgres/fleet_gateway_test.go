package postgres_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/postgres"
	"github.com/entragate/entragate/middleware"
)

const envGateway = "ENTRAGATE_TEST_GATEWAY"

// gatewayConfig configures a gateway process.
type gatewayConfig struct{ DSN, Tenant, Authority string }

// gateway runs in a process of its own: a gate in managed mode over a store and a
// catalog. It prints its address when ready, and ends with its standard input.
func gateway(config string) error {
	var c gatewayConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	ctx := context.Background()
	s, err := postgres.Open(ctx, c.DSN)
	if err != nil {
		return err
	}
	catalog, err := appaccess.NewCatalog(ctx, appaccess.CatalogConfig{Store: s})
	if err != nil {
		return err
	}
	gate, err := middleware.New(middleware.Config{Tenants: []string{c.Tenant}, Authority: c.Authority, Catalog: catalog})
	if err != nil {
		return err
	}
	if err := gate.Ready(ctx); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	stall := watchStalls(ctx)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stall", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, stall.Load()) })
	mux.Handle("/", gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "echo") })))
	go func() { _ = http.Serve(listener, mux) }() // ends with the process
	fmt.Println("http://" + listener.Addr().String())
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	if err := gate.Close(); err != nil {
		return err
	}
	if err := catalog.Close(); err != nil {
		return err
	}
	return s.Close()
}

// watchServer returns the longest time, in nanoseconds, that PostgreSQL took for
// the least that one can ask it.
func watchServer(t *testing.T, dsn string) *atomic.Int64 {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	longest := new(atomic.Int64)
	ctx, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			if _, err := conn.Exec(ctx, "SELECT 1"); err != nil {
				return
			}
			longest.Store(max(longest.Load(), int64(time.Since(began))))
			time.Sleep(5 * time.Millisecond)
		}
	})
	t.Cleanup(func() {
		stop()
		watching.Wait()
		require.NoError(t, conn.Close(context.Background()))
	})
	return longest
}

// watchStalls returns the longest time, in nanoseconds, for which this process
// got no turn: what it could not have done better.
func watchStalls(ctx context.Context) *atomic.Int64 {
	const beat = 5 * time.Millisecond
	longest := new(atomic.Int64)
	go func() {
		for last := time.Now(); ctx.Err() == nil; {
			time.Sleep(beat)
			now := time.Now()
			longest.Store(max(longest.Load(), int64(now.Sub(last)-beat)))
			last = now
		}
	}()
	return longest
}

// startGateway starts a gateway process and returns its address.
func startGateway(t *testing.T, c gatewayConfig) (url string) {
	t.Helper()
	config, err := json.Marshal(c)
	require.NoError(t, err)
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envGateway+"="+string(config))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, stdin.Close())
		require.NoError(t, cmd.Wait(), "the gateway ends in good order")
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err, "the gateway does not start")
	return line[:len(line)-1]
}

func stallOf(t *testing.T, url string) time.Duration {
	t.Helper()
	res, err := http.Get(url + "/stall")
	require.NoError(t, err)
	defer func() { require.NoError(t, res.Body.Close()) }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	n, err := strconv.ParseInt(string(body), 10, 64)
	require.NoError(t, err)
	return time.Duration(n)
}
