// Package pgtest gives tests a real PostgreSQL.
//
// The first test that asks starts one server for the test binary, in a folder
// of its own, with what is found on PATH or in Debian's place; it ends with the
// process, however that ends. The environment variable ENTRAGATE_TEST_POSTGRES
// names a server to use instead, as a connection string. Without either a test
// is skipped, or fails if ENTRAGATE_TEST_REQUIRE is 1.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// EnvDSN names a server to use, and EnvRequire forbids to skip.
	EnvDSN     = "ENTRAGATE_TEST_POSTGRES"
	EnvRequire = "ENTRAGATE_TEST_REQUIRE"
)

var (
	server  = sync.OnceValues(start)
	schemas atomic.Int64
)

// Schema returns the connection string of a new, empty schema that is dropped
// after the test.
func Schema(t testing.TB) string {
	t.Helper()
	dsn := reach(t)
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), schemas.Add(1))
	run(t, dsn, "CREATE SCHEMA "+name)
	t.Cleanup(func() { run(t, dsn, "DROP SCHEMA "+name+" CASCADE") })
	return With(With(dsn, "search_path", name), "application_name", name)
}

// reach returns the connection string of the server.
func reach(t testing.TB) string {
	t.Helper()
	dsn, err := server()
	if err != nil {
		if os.Getenv(EnvRequire) == "1" {
			t.Fatalf("no PostgreSQL: %v", err)
		}
		t.Skipf("no PostgreSQL: %v; install it or set %s", err, EnvDSN)
	}
	return dsn
}

// Database returns the connection string of a new, empty database that is dropped
// after the test.
func Database(t testing.TB) string {
	t.Helper()
	dsn := reach(t)
	name := fmt.Sprintf("database_%d_%d", os.Getpid(), schemas.Add(1))
	run(t, dsn, "CREATE DATABASE "+name)
	t.Cleanup(func() { run(t, dsn, "DROP DATABASE "+name+" WITH (FORCE)") })
	return With(With(dsn, "dbname", name), "application_name", name)
}

// Program runs a program of the server's package, such as pg_dump, and returns what
// it prints.
func Program(t testing.TB, name string, args ...string) string {
	t.Helper()
	exe, err := exec.LookPath(name)
	if err != nil {
		var bin string
		if bin, err = find(); err == nil {
			exe, err = exec.LookPath(filepath.Join(bin, name))
		}
	}
	if err != nil {
		if os.Getenv(EnvRequire) == "1" {
			t.Fatalf("no %s: %v", name, err)
		}
		t.Skipf("no %s: %v", name, err)
	}
	out, err := exec.CommandContext(t.Context(), exe, args...).Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("%s: %v: %s", name, err, failed.Stderr)
		}
		t.Fatalf("%s: %v", name, err)
	}
	return string(out)
}

// Version is what the server says of itself.
func Version(t testing.TB, dsn string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatalf("PostgreSQL: %v", err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var version string
	if err := conn.QueryRow(t.Context(), "SELECT version()").Scan(&version); err != nil {
		t.Fatalf("PostgreSQL: %v", err)
	}
	return version
}

func run(t testing.TB, dsn, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatalf("PostgreSQL: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("PostgreSQL: %s: %v", sql, err)
	}
}

// With adds a setting to a connection string of either form, or replaces it.
func With(dsn, key, value string) string {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" {
		return dsn + " " + key + "=" + value
	}
	q := u.Query()
	q.Set(key, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// start returns the connection string of a server that is up.
func start() (string, error) {
	if dsn := os.Getenv(EnvDSN); dsn != "" {
		return dsn, nil
	}
	bin, err := find()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return "", err
	}
	as, err := otherUser(dir)
	if err != nil {
		return "", err
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"),
		"-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	initdb.Dir, initdb.SysProcAttr = dir, as
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("initdb: %w: %s", err, out), os.RemoveAll(dir))
	}
	if err := serve(bin, dir, data, as); err != nil {
		return "", err
	}
	dsn := "host=" + dir + " user=postgres dbname=postgres sslmode=disable"
	return dsn, await(dsn, filepath.Join(dir, "log"))
}

// find returns the folder of the newest server that is installed.
func find() (string, error) {
	if initdb, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(initdb), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.Join(errors.New("initdb is neither on PATH nor in /usr/lib/postgresql/*/bin"), err)
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

func version(path string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	if err != nil {
		return 0
	}
	return n
}

// otherUser lets root run the server as somebody else, for it refuses root,
// and hands over the folder.
func otherUser(dir string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2, os.Chown(dir, int(uid), int(gid))); err != nil {
			return nil, err
		}
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return nil, errors.New("root must run it as another user, but neither the user postgres nor the user nobody exists")
}

// keeper runs the server until its standard input ends, which it does with the
// process that holds the other side.
const keeper = `"$0/postgres" -D "$1/data" -k "$1" -c listen_addresses= -c fsync=off -c full_page_writes=off \
	-c synchronous_commit=off -c max_connections=200 >"$1/log" 2>&1 </dev/null &
server=$!
read -r _
kill -INT $server
wait $server
cd /
rm -rf "$1"`

func serve(bin, dir, data string, as *syscall.SysProcAttr) error {
	cmd := exec.Command("/bin/sh", "-c", keeper, bin, dir)
	cmd.Dir, cmd.SysProcAttr = data, as
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	lifelines = append(lifelines, lifeline)
	return cmd.Start()
}

// lifelines stay open, and are never written to, for as long as this process
// lives.
var lifelines []io.Closer

func await(dsn, log string) error { return awaitFor(dsn, log, time.Minute) }

func awaitFor(dsn, log string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, dsn)
		if err == nil {
			return conn.Close(ctx)
		}
		if ctx.Err() != nil {
			said, _ := os.ReadFile(log)
			return fmt.Errorf("the server does not start: %w: %s", err, strings.TrimSpace(string(said)))
		}
		time.Sleep(20 * time.Millisecond)
	}
}
