package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/pgtest"
)

// The text that pg_dump writes is restored by psql into another database. What was
// done after the dump is lost there, is found in Entra, and is used again.
func TestADumpIsRestoredIntoAnotherDatabase(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	original, restored := pgtest.Database(t), pgtest.Database(t)
	w.env["ENTRAGATE_STORE"] = original
	raw, err := os.ReadFile(w.file("plan-base.json"))
	require.NoError(t, err)
	before, err := appaccess.ParseDocument(strings.NewReader(string(raw)))
	require.NoError(t, err)
	later := before.Applications[4].ID
	before.Applications = before.Applications[:4]
	var text strings.Builder
	require.NoError(t, before.Write(&text))
	require.NoError(t, os.WriteFile(w.file("before.json"), []byte(text.String()), 0o600))
	status, _, errOut := w.run("apply", "-create", "-config", w.file("before.json"), "-quiet")
	require.Zero(t, status, errOut)

	w.dump(original)
	status, _, errOut = w.run("apply", "-config", w.file("plan-base.json"), "-quiet")
	require.Zero(t, status, errOut)
	w.restore(restored)

	w.env["ENTRAGATE_STORE"] = restored
	status, _, errOut = w.run("backup", "check", restored)
	require.Zero(t, status, errOut)
	status, _, errOut = w.run("takeover", "-config", w.file("plan-base.json"))
	assert.Equal(t, 1, status)
	assert.Contains(t, errOut, "the store has recorded applications", "a restored store is not a lost one")
	status, out, errOut := w.run("drift")
	require.Zero(t, status, errOut)
	assert.Contains(t, out, later, "what the store does not know is found")
	status, out, errOut = w.run("plan", "-config", w.file("plan-base.json"), "-detailed-exitcode")
	require.Equal(t, 2, status, errOut)
	assert.Contains(t, out, "create application "+later)
	status, out, errOut = w.run("apply", "-config", w.file("plan-base.json"), "-quiet")
	require.Zero(t, status, out+errOut)
	status, out, _ = w.run("plan", "-config", w.file("plan-base.json"), "-detailed-exitcode")
	assert.Zero(t, status, out)
	assert.Len(t, w.tenant.State().Applications, 8+1, "what was made after the dump is used again")
}

// A lost database is recovered in a new one. The new database is dumped before
// anything is written to Entra, and another database continues from the dump.
func TestATakeOverIsDumpedAndRestored(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	lost, recovered, restored := pgtest.Database(t), pgtest.Database(t), pgtest.Database(t)
	w.env["ENTRAGATE_STORE"] = lost
	status, _, errOut := w.run("apply", "-create", "-config", w.file("plan-base.json"), "-quiet")
	require.Zero(t, status, errOut)
	made := len(w.tenant.State().Applications)

	w.env["ENTRAGATE_STORE"] = recovered
	status, _, errOut = w.run("plan", "-config", w.file("plan-base.json"))
	assert.Equal(t, 1, status)
	assert.Contains(t, errOut, "entragate help takeover")
	status, out, errOut := w.run("takeover", "-create", "-config", w.file("plan-base.json"))
	require.Zero(t, status, errOut)
	assert.Contains(t, out, "Taken over: 8 applications.")
	w.dump(recovered)
	w.restore(restored)

	w.env["ENTRAGATE_STORE"] = restored
	status, out, errOut = w.run("apply", "-config", w.file("plan-base.json"), "-quiet")
	require.Zero(t, status, out+errOut)
	status, out, _ = w.run("plan", "-config", w.file("plan-base.json"), "-detailed-exitcode")
	assert.Zero(t, status, out)
	assert.Len(t, w.tenant.State().Applications, made, "every application is used again")
	w.env["ENTRAGATE_STORE"] = lost
	status, out, errOut = w.run("apply", "-config", w.file("plan-base.json"), "-quiet")
	assert.NotZero(t, status, "the lost database came back, and has the old key")
	assert.Contains(t, out+errOut, "another installation")
}

// dump and restore are the commands of OPERATIONS.md.
func (w *workplace) dump(dsn string) {
	w.Helper()
	text := pgtest.Program(w, "pg_dump", "--no-owner", "--table=entragate_*", "--dbname="+dsn)
	require.NoError(w, os.WriteFile(w.file("dump.sql"), []byte(text), 0o600))
}

func (w *workplace) restore(dsn string) {
	w.Helper()
	pgtest.Program(w, "psql", "--quiet", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1", "--file="+w.file("dump.sql"), "--dbname="+dsn)
}
