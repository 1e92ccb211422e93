package sqlite_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/internal/growth"
)

const (
	childPath  = "ENTRAGATE_SQLITE_CHILD"
	childTurns = "ENTRAGATE_SQLITE_TURNS"
	kind       = appaccess.Kind("thing")
)

// TestMain lets the test binary be another process on the same file.
func TestMain(m *testing.M) {
	var err error
	switch {
	case os.Getenv(growth.EnvReplica) != "":
		err = growth.RunReplica(func(ctx context.Context) (appaccess.Store, error) {
			return sqlite.Open(ctx, os.Getenv(growth.EnvReplica))
		})
	case os.Getenv(childPath) != "":
		err = child(os.Getenv(childPath), os.Getenv(childTurns))
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child counts up, that many turns, and prints each count once it is
// acknowledged.
func child(path, turns string) error {
	if turns == "twice" {
		return childTwice(path)
	}
	n, err := strconv.Atoi(turns)
	if err != nil {
		return err
	}
	s, err := sqlite.Open(context.Background(), path)
	if err != nil {
		return err
	}
	for range n {
		var count int
		if _, err := s.Update(context.Background(), countUp(&count)); err != nil {
			return err
		}
		fmt.Println(count)
	}
	return s.Close()
}

// countUp raises the counter and puts a record of that number.
func countUp(count *int) func(appaccess.Writer) error {
	return func(w appaccess.Writer) error {
		*count = 0
		rec, err := w.Get(kind, "counter")
		switch {
		case errors.Is(err, appaccess.ErrNotFound):
		case err != nil:
			return err
		default:
			if *count, err = strconv.Atoi(string(rec.Body)); err != nil {
				return err
			}
		}
		*count++
		body := []byte(strconv.Itoa(*count))
		return errors.Join(
			w.Put(appaccess.Record{Kind: kind, ID: "counter", Body: body}),
			w.Put(appaccess.Record{Kind: kind, ID: fmt.Sprintf("r%06d", *count), Body: body,
				Index: []appaccess.IndexEntry{{Name: "n", Value: string(body), Unique: true}}}),
		)
	}
}

func startChild(t *testing.T, path string, turns int) (*exec.Cmd, io.Reader) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childPath+"="+path, childTurns+"="+strconv.Itoa(turns))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return cmd, out
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	acknowledged := 0
	for round := range 5 {
		cmd, out := startChild(t, path, 1_000_000)
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			count, err := strconv.Atoi(lines.Text())
			require.NoError(t, err)
			require.Greater(t, count, acknowledged)
			acknowledged = count
			if n == 10+7*round {
				require.NoError(t, cmd.Process.Kill()) // SIGKILL, in the middle of writes
			}
		}
		require.Error(t, cmd.Wait(), "it was not killed")
	}
	s := open(t, path)
	count := checkCount(t, s)
	assert.GreaterOrEqual(t, count, acknowledged)
	assert.LessOrEqual(t, count, acknowledged+5*5, "each kill leaves few that were not read")
	require.NoError(t, s.Close())

	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	var verdict string
	require.NoError(t, db.QueryRow("PRAGMA integrity_check").Scan(&verdict))
	assert.Equal(t, "ok", verdict)
}

// checkCount checks that there is one record for each count, and returns the
// last.
func checkCount(t *testing.T, s *sqlite.Store) (count int) {
	t.Helper()
	require.NoError(t, s.View(t.Context(), func(r appaccess.Reader) error {
		rec, err := r.Get(kind, "counter")
		require.NoError(t, err)
		count, err = strconv.Atoi(string(rec.Body))
		require.NoError(t, err)
		at, err := r.Position()
		require.NoError(t, err)
		assert.EqualValues(t, count, at.Revision, "a commit is whole or not there")
		for n := 1; n <= count; n++ {
			found, err := r.List(appaccess.Query{Kind: kind, Where: []appaccess.IndexEntry{{Name: "n", Value: strconv.Itoa(n)}}})
			require.NoError(t, err)
			require.Len(t, found, 1, "number %d", n)
		}
		return nil
	}))
	return count
}

func TestSeveralProcessesOnOneFile(t *testing.T) {
	t.Parallel()
	const children, turns = 2, 25
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path)
	var running []*exec.Cmd
	for range children {
		cmd, out := startChild(t, path, turns)
		go func() { _, _ = io.Copy(io.Discard, out) }()
		running = append(running, cmd)
	}
	for range turns {
		var count int
		_, err := s.Update(t.Context(), countUp(&count))
		require.NoError(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := map[string]bool{}
	last := appaccess.Revision(0)
	for c, err := range s.Changes(ctx, appaccess.Position{}) { // of all processes
		require.NoError(t, err)
		if !c.AsOf.IsZero() {
			continue
		}
		require.GreaterOrEqual(t, c.Revision, last)
		last = c.Revision
		seen[c.ID] = true
		if len(seen) == (children+1)*turns+1 && last == (children+1)*turns {
			break
		}
	}
	for _, cmd := range running {
		require.NoError(t, cmd.Wait())
	}
	assert.Equal(t, (children+1)*turns, checkCount(t, s))
}
