package portal_test

import (
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// need skips a test where a program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("ENTRAGATE_TEST_REQUIRE") == "1" {
				t.Fatalf("%s is required", name)
			}
			t.Skipf("no %s", name)
		}
	}
}

// snippetWorld is a world whose certificates a program can trust.
type snippetWorld struct {
	*world
	a       *visitor
	secret  string
	trusted string // file
}

func newSnippetWorld(t *testing.T) *snippetWorld {
	t.Helper()
	s := &snippetWorld{trusted: filepath.Join(t.TempDir(), "ca.pem")}
	s.world, s.a, s.secret = tryWorld(t)
	ca := append(s.tenant.CertificatePEM(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.api.Certificate().Raw})...)
	require.NoError(t, os.WriteFile(s.trusted, ca, 0o600))
	return s
}

// run runs a program with a snippet and returns all that it says.
func (s *snippetWorld) run(t *testing.T, env []string, stdin, program string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), append(env, "CURL_CA_BUNDLE="+s.trusted, "SSL_CERT_FILE="+s.trusted)...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *snippetWorld) snippet(t *testing.T, query, name string) string {
	t.Helper()
	page := s.a.get("/my/applications/shop" + query)
	for i := range 4 {
		if strings.Contains(page.Body, "<summary>"+name+`</summary><pre tabindex="0" aria-label="`+name+`"><code id="snippet-`+string(rune('0'+i))+`">`) {
			return snippetOf(t, page, i)
		}
	}
	t.Fatalf("the page has no snippet for %s", name)
	return ""
}

// Each snippet gets a token and calls the API; with a wrong secret it stops with
// Entra's own words, and without one it says which variable is missing. None
// asks for input.
func TestSnippetsRun(t *testing.T) {
	t.Parallel()
	s := newSnippetWorld(t)
	header := "X-Orders-Key" // an API may have a name of its own for keys
	_, err := s.service.UpdateAPI(t.Context(), root, "orders-api", appaccess.APIUpdate{KeyHeader: &header})
	require.NoError(t, err)
	file := func(name, code string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(code), 0o600))
		return path
	}
	for name, way := range map[string]struct {
		snippet string
		file    string
		command []string
	}{
		"sh":     {"curl", "call.sh", []string{"sh"}},
		"bash":   {"curl", "call.sh", []string{"bash"}},
		"zsh":    {"curl", "call.sh", []string{"zsh", "-f"}},
		"Python": {"Python", "call.py", []string{"python3"}},
		"Go":     {"Go", "main.go", nil}, // built, and run by itself
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			need(t, "curl")
			if way.command != nil {
				need(t, way.command[0])
			}
			for with, env := range map[string]string{"token": "CLIENT_SECRET=" + s.secret, "key": "SUBSCRIPTION_KEY=sk-1"} {
				code := file(way.file, s.snippet(t, "?target=orders+orders-api&with="+with, way.snippet))
				command := append(slices.Clone(way.command), code)
				if way.command == nil {
					command = []string{filepath.Join(t.TempDir(), "call")}
					out, err := exec.CommandContext(t.Context(), "go", "build", "-o", command[0], code).CombinedOutput()
					require.NoError(t, err, string(out))
				}
				out, err := s.run(t, []string{env}, "", command[0], command[1:]...)
				require.NoError(t, err, out)
				assert.Contains(t, out, `"path":"/echo"`, with)
				assert.Contains(t, out, "200", with)
				assert.Contains(t, out, `"orders-key":`+map[string]string{"token": "false", "key": "true"}[with])
				assert.NotContains(t, out, s.secret)
				variable, _, _ := strings.Cut(env, "=")
				out, err = s.run(t, []string{variable + "="}, "typed by somebody else\n", command[0], command[1:]...)
				assert.Error(t, err, out)
				assert.Contains(t, out, variable)
				assert.NotContains(t, out, "typed by")
				if with == "token" {
					out, err = s.run(t, []string{"CLIENT_SECRET=not-the-secret"}, "", command[0], command[1:]...)
					assert.Error(t, err, out)
					assert.Contains(t, out, "AADSTS7000215", "Entra's own words")
					assert.NotContains(t, out, "not-the-secret")
				}
			}
		})
	}
}

// Pasted into an interactive shell, line by line as a terminal without bracketed
// paste sends it, the snippet does the same, leaves the shell alive, and takes
// nothing of what is typed next for a secret.
func TestSnippetsCanBePasted(t *testing.T) {
	t.Parallel()
	need(t, "script", "curl", "bash", "zsh")
	s := newSnippetWorld(t)
	code := s.snippet(t, "", "curl")
	for name, shell := range map[string]string{"bash": "bash --norc -i", "zsh": "zsh -f -i"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			paste := func(env string) string {
				cmd := exec.CommandContext(t.Context(), "script", "-qec", shell, "/dev/null")
				cmd.Env = append(os.Environ(), env, "CURL_CA_BUNDLE="+s.trusted, "HISTFILE=", "TERM=dumb")
				cmd.WaitDelay = time.Minute
				in, err := cmd.StdinPipe()
				require.NoError(t, err)
				var out strings.Builder
				cmd.Stdout, cmd.Stderr = &out, &out
				require.NoError(t, cmd.Start())
				_, err = io.WriteString(in, code+"echo alive-$((40+2))\nexit 0\n")
				require.NoError(t, err)
				_ = cmd.Wait() // the shell's last status is not what is asked
				return out.String()
			}
			said := paste("CLIENT_SECRET=" + s.secret)
			assert.Contains(t, said, "Status 200")
			assert.Contains(t, said, "alive-42")
			assert.NotContains(t, said, s.secret)
			said = paste("CLIENT_SECRET=")
			assert.Contains(t, said, "is not set")
			assert.Contains(t, said, "alive-42")
			assert.NotContains(t, said, "Status 200")
		})
	}
}

// No snippet can be broken out of by what a manager enters.
func TestSnippetsAreQuoted(t *testing.T) {
	t.Parallel()
	need(t, "sh", "python3", "gofmt")
	s := newSnippetWorld(t)
	evil := s.api.URL + "/a'$(touch pwned)'"
	_, err := s.service.UpdateAPI(t.Context(), root, "orders-api", appaccess.APIUpdate{ServiceURL: &evil})
	require.NoError(t, err)
	dir := t.TempDir()
	for name, command := range map[string][]string{"curl": {"sh"}, "Python": {"python3"}} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(s.snippet(t, "", name)), 0o600))
		cmd := exec.CommandContext(t.Context(), command[0], path)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CLIENT_SECRET="+s.secret, "CURL_CA_BUNDLE="+s.trusted, "SSL_CERT_FILE="+s.trusted)
		out, _ := cmd.CombinedOutput() // the address may well be refused
		_, err := os.Stat(filepath.Join(dir, "pwned"))
		assert.ErrorIs(t, err, os.ErrNotExist, "%s", out)
	}
	path := filepath.Join(dir, "main.go")
	require.NoError(t, os.WriteFile(path, []byte(s.snippet(t, "", "Go")), 0o600))
	out, err := exec.CommandContext(t.Context(), "gofmt", "-l", path).CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Empty(t, string(out), "the snippet is formatted")
}
