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

	// The commands of OPERATIONS.md.
	dump := pgtest.Program(t, "pg_dump", "--no-owner", "--table=entragate_*", "--dbname="+original)
	require.NoError(t, os.WriteFile(w.file("dump.sql"), []byte(dump), 0o600))
	status, _, errOut = w.run("apply", "-config", w.file("plan-base.json"), "-quiet")
	require.Zero(t, status, errOut)
	pgtest.Program(t, "psql", "--quiet", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1", "--file="+w.file("dump.sql"), "--dbname="+restored)

	w.env["ENTRAGATE_STORE"] = restored
	status, _, errOut = w.run("backup", "check", restored)
	require.Zero(t, status, errOut)
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
