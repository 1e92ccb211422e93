package pgtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// PgBouncer starts a pooler in front of the schema that dsn names, in a pool
// mode such as transaction. It returns the connection string of the way through
// it, and ends it with the test. Without the program the test is skipped, or
// fails if ENTRAGATE_TEST_REQUIRE is 1.
func PgBouncer(t testing.TB, dsn, mode string) string {
	t.Helper()
	exe, err := exec.LookPath("pgbouncer")
	if err != nil {
		exe = "/usr/sbin/pgbouncer"
		if _, err := os.Stat(exe); err != nil {
			if os.Getenv(EnvRequire) == "1" {
				t.Fatal("no pgbouncer")
			}
			t.Skip("no pgbouncer: install it")
		}
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatalf("PostgreSQL: %v", err)
	}
	dir, err := os.MkdirTemp("", "pgbouncer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	as, err := otherUser(dir)
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	ini := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
store = host=%s port=%d dbname=%s user=%s connect_query='SET search_path TO %s'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = %s
max_client_conn = 500
default_pool_size = 20
logfile = %s
`, config.Host, config.Port, config.Database, config.User, config.RuntimeParams["search_path"], port, mode, filepath.Join(dir, "log"))
	if err := os.WriteFile(ini, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, exe, ini)
	cmd.Dir, cmd.SysProcAttr = dir, as
	if err := cmd.Start(); err != nil {
		t.Fatalf("pgbouncer: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	through := fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=store sslmode=disable application_name=%s",
		port, config.User, config.RuntimeParams["application_name"])
	if err := awaitFor(through, filepath.Join(dir, "log"), 20*time.Second); err != nil {
		t.Fatalf("pgbouncer: %v", err)
	}
	return through
}

// freePort returns a port that nobody listens on.
func freePort(t testing.TB) int {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, text, _ := net.SplitHostPort(listener.Addr().String())
	port, _ := strconv.Atoi(text)
	return port
}
