package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

var update = flag.Bool("update", false, "write the transcripts in testdata anew")

// A transcript in testdata holds command lines, after "$ ", each followed by its
// output. Each transcript has a tenant and a folder of its own.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			w := newWorkplace(t)
			var out strings.Builder
			for line := range strings.Lines(string(raw)) {
				switch {
				case strings.HasPrefix(line, "#"):
					if out.Len() > 0 {
						out.WriteString("\n")
					}
					out.WriteString(line + "\n")
				case strings.HasPrefix(line, "$ "):
					out.WriteString(line)
					out.WriteString(w.line(strings.TrimSpace(line[2:])))
				}
			}
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(out.String()), 0o600))
				return
			}
			assert.Equal(t, string(raw), out.String(), "run the test with -update and read the difference")
		})
	}
}

// workplace is a tenant, and a folder with the identity of a pipeline in its
// environment.
type workplace struct {
	*testing.T
	tenant *entratest.Server
	dir    string
	env    map[string]string
	plan   string // the last hash that was printed
	names  map[string]string
	hidden []string // values that must not be printed

	pipeline map[string]string // the environment to go back to
}

func newWorkplace(t *testing.T) *workplace {
	t.Helper()
	tenant := entratest.NewServer(t, entratest.Config{})
	caller, err := tenant.AddCaller("pipeline", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	w := &workplace{T: t, tenant: tenant, dir: t.TempDir(), names: map[string]string{}, hidden: []string{caller.Secret.Reveal()}}
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "ca.pem"), tenant.CertificatePEM(), 0o600))
	require.NoError(t, os.CopyFS(w.dir, os.DirFS("testdata")))
	require.NoError(t, os.CopyFS(filepath.Join(w.dir, "saved"), os.DirFS("../../appaccess/apim/testdata/arm-2024-05-01")))
	w.env = map[string]string{
		"AZURE_TENANT_ID": tenant.ID(), "AZURE_CLIENT_ID": caller.AppID, "AZURE_CLIENT_SECRET": caller.Secret.Reveal(),
		"ENTRAGATE_STORE": filepath.Join(w.dir, "access.db"),
	}
	return w
}

// run runs the command in the folder.
func (w *workplace) run(args ...string) (status int, out, errOut string) {
	w.Helper()
	var stdout, stderr bytes.Buffer
	p := &program{
		in: strings.NewReader(""), out: &stdout, errOut: &stderr,
		getenv: func(name string) string { return w.env[name] }, stop: make(chan struct{}),
	}
	status = p.run(w.Context(), w.located(args))
	for _, secret := range w.hidden {
		assert.NotContains(w, stdout.String()+stderr.String(), secret, "%v prints a secret", args)
	}
	return status, stdout.String(), stderr.String()
}

// located adds the local tenant's addresses to the commands that need them. They come
// first, so that a test can give others.
func (w *workplace) located(args []string) []string {
	c, _, err := find(args)
	if err != nil {
		return args
	}
	for name, value := range map[string]string{
		"ca": filepath.Join(w.dir, "ca.pem"), "authority": w.tenant.Authority(), "graph": w.tenant.BaseURL(), "lag": "100ms",
	} {
		for _, f := range c.flags {
			if f == name {
				args = append([]string{"-" + name, value}, args...)
			}
		}
	}
	return args
}

// line runs a line of a transcript and returns what it prints.
func (w *workplace) line(line string) string {
	w.Helper()
	words := strings.Fields(w.resolved(line))
	for i, word := range words {
		word = strings.ReplaceAll(strings.ReplaceAll(word, "$PLAN", w.plan), "$DIR", w.dir)
		if file := filepath.Join(w.dir, word); slices.Contains([]string{".json", ".db", ".txt"}, filepath.Ext(word)) {
			word = file
		}
		words[i] = word
	}
	switch words[0] {
	case "rm":
		for _, path := range words[1:] {
			require.NoError(w, os.Remove(path))
		}
		return ""
	case "revoke-by-hand":
		w.revokeByHand(words[1])
		return ""
	case "as-client":
		secret, err := os.ReadFile(words[2])
		require.NoError(w, err)
		w.hidden = append(w.hidden, string(secret))
		w.pipeline = w.env
		w.env = maps.Clone(w.env)
		w.env["AZURE_CLIENT_ID"], w.env["AZURE_CLIENT_SECRET"] = w.appOf("entragate-default-application-"+words[1]), string(secret)
		return ""
	case "as-pipeline":
		w.env = w.pipeline
		return ""
	case "register":
		app, err := w.tenant.AddApplication(entratest.App{Name: words[1], UniqueName: words[1]})
		require.NoError(w, err)
		require.NotEmpty(w, app.AppID)
		return ""
	case "backup":
		store, err := sqlite.Open(w.Context(), w.env["ENTRAGATE_STORE"])
		require.NoError(w, err)
		require.NoError(w, errors.Join(store.Backup(w.Context(), words[1]), store.Close()))
		return ""
	case "cut":
		require.NoError(w, os.Truncate(words[1], 20_000))
		return ""
	case "entragate":
		status, out, errOut := w.run(words[1:]...)
		if _, hash, found := strings.Cut(out, "\nPlan: "); found {
			w.plan = strings.TrimSpace(hash)
		}
		text := out
		for line := range strings.Lines(errOut) {
			text += "stderr: " + line
		}
		if status != 0 {
			text += fmt.Sprintf("exit %d\n", status)
		}
		return w.stable(text)
	}
	require.FailNow(w, "unknown command", line)
	return ""
}

var (
	variable = regexp.MustCompile(`\$(SCOPE|APP|APPOF)\(([^)]*)\)`)
	guid     = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	hash     = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
	random   = regexp.MustCompile(`("(?:aio|rh|uti|kid)": ")[^"]*|("(?:exp|iat|nbf)": )\d+|(127\.0\.0\.1:)\d+|(revision )\d+|(  )\S{3}…|(/tmp/entragate-)\d+`)
	longID   = regexp.MustCompile(`\b[0-9a-z]{26}\b`)
	when     = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`)
)

// resolved puts client IDs into a line.
func (w *workplace) resolved(line string) string {
	return variable.ReplaceAllStringFunc(line, func(v string) string {
		m := variable.FindStringSubmatch(v)
		switch m[1] {
		case "SCOPE":
			return "api://" + w.appOf("entragate-default-product-"+m[2]) + "/.default"
		case "APP":
			return w.appOf("entragate-default-product-" + m[2])
		}
		return w.appOf(m[2])
	})
}

// appOf is the client ID of an application by its unique name.
func (w *workplace) appOf(uniqueName string) string {
	w.Helper()
	caller, err := w.tenant.AddCaller("reader", entratest.ApplicationAdministrator)
	require.NoError(w, err)
	apps, errs := w.tenant.Directory(caller).Applications(w.Context(), uniqueNamed(uniqueName))
	require.NoError(w, errors.Join(errs...))
	return apps[0].AppID
}

// stable replaces what differs from run to run.
func (w *workplace) stable(text string) string {
	text = strings.ReplaceAll(text, w.dir+string(filepath.Separator), "")
	text = guid.ReplaceAllStringFunc(text, func(id string) string {
		if w.names[id] == "" {
			w.names[id] = fmt.Sprintf("GUID-%d", len(w.names)+1)
		}
		return w.names[id]
	})
	text = random.ReplaceAllString(text, "$1$2$3$4$5${6}*")
	text = longID.ReplaceAllString(text, "ID")
	text = hash.ReplaceAllString(text, "HASH")
	if lines := strings.SplitAfter(text, "\n"); len(lines) > 60 && strings.Contains(text, "stderr:") { // a report
		text = strings.Join(lines[:20], "") + fmt.Sprintf("(%d lines)\n", len(lines)-40) + strings.Join(lines[len(lines)-20:], "")
	}
	return when.ReplaceAllString(text, "TIME")
}

// revokeByHand deletes the first grant of an application in Entra.
func (w *workplace) revokeByHand(application string) {
	w.Helper()
	caller, err := w.tenant.AddCaller("somebody", entratest.ApplicationAdministrator)
	require.NoError(w, err)
	admin := w.tenant.Directory(caller)
	ref := uniqueNamed("entragate-default-application-" + application)
	apps, errs := admin.Applications(w.Context(), ref)
	require.NoError(w, errors.Join(errs...))
	principals, errs := admin.ServicePrincipals(w.Context(), []provision.PrincipalRef{{AppID: apps[0].AppID}})
	require.NoError(w, errors.Join(errs...))
	grants, errs := admin.Assignments(w.Context(), []string{principals[0].ObjectID})
	require.NoError(w, errors.Join(errs...))
	require.NotEmpty(w, grants[0])
	require.NoError(w, admin.Unassign(w.Context(), grants[0][0].ResourceID, grants[0][0].ID))
}
