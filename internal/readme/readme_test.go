package readme_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../../"

// pages are all pages of the repository, by their paths in it.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "node_modules" || d.Name() == "out") {
			return fs.SkipDir
		}
		if strings.HasSuffix(d.Name(), ".md") {
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			found[name] = read(t, path)
		}
		return nil
	}))
	require.Greater(t, len(found), 10)
	return found
}

func TestTheREADMEIsShort(t *testing.T) {
	t.Parallel()
	assert.LessOrEqual(t, len(strings.Fields(read(t, root+"README.md"))), 1100)
}

var (
	goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")
	shBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")
	link    = regexp.MustCompile(`\]\(([^)#]+)[^)]*\)|<img[^>]* src="([^"]+)"`)
	claim   = regexp.MustCompile(`<!-- test: ([^>]*?) -->`)
)

// Every snippet of Go on a page is code that the compiler has seen.
func TestSnippetsAreCompiled(t *testing.T) {
	t.Parallel()
	compiled := flat(read(t, "snippets_test.go") + read(t, "route/main.go"))
	found := 0
	for page, text := range pages(t) {
		for _, b := range goBlock.FindAllStringSubmatch(text, -1) {
			found++
			assert.Contains(t, compiled, flat(b[1]), "%s: not in snippets_test.go or route/main.go", page)
		}
	}
	assert.GreaterOrEqual(t, found, 4)
}

// flat takes indentation away, which pages write with tabs or, inside of lists,
// with blanks.
func flat(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		b.WriteString(strings.TrimLeft(line, "\t "))
	}
	return b.String()
}

// ranBy names the test that runs a command of a page, by the command's
// beginning.
var ranBy = map[string]string{
	"go run ./examples/quickstart": "examples/quickstart TestServe",
	"go test ./...":                "",
	"go get ":                      "", // needs a tag
	"go install ":                  "",
	"export ENTRAGATE_STORE":       "",
	"entragate plan":               "provision/entragate TestTranscripts",
	"entragate apply":              "provision/entragate TestTranscripts",
	"entragate secret add":         "provision/entragate TestTranscripts",
	"entragate import":             "provision/entragate TestTranscripts",
	"e() {":                        "examples/quickstart TestForeignClients",
	"token=$(curl":                 "examples/quickstart TestForeignClients",
	"-d grant_type":                "examples/quickstart TestForeignClients",
	"--data-urlencode":             "examples/quickstart TestForeignClients",
	"curl --cacert":                "examples/quickstart TestForeignClients",
	"-d '{":                        "examples/quickstart TestForeignClients",
}

func TestCommandsAreRunByTests(t *testing.T) {
	t.Parallel()
	for page, text := range pages(t) {
		for _, b := range shBlock.FindAllStringSubmatch(text, -1) {
			for line := range strings.Lines(b[1]) {
				line = strings.TrimSpace(line)
				if line == "" {
					continue
				}
				known := false
				for begins, test := range ranBy {
					if strings.HasPrefix(line, begins) {
						known = true
						if test != "" {
							assertTest(t, page, test)
						}
					}
				}
				assert.True(t, known, "%s: no test is known to run %q", page, line)
			}
		}
	}
}

// Every promise names a test that exists.
func TestClaimsNameTheirTests(t *testing.T) {
	t.Parallel()
	found := 0
	for page, text := range pages(t) {
		for _, c := range claim.FindAllStringSubmatch(text, -1) {
			for test := range strings.SplitSeq(c[1], ";") {
				found++
				assertTest(t, page, strings.TrimSpace(test))
			}
		}
	}
	assert.Greater(t, found, 25)
}

// assertTest checks that a package has a test, an example or a fuzz target.
func assertTest(t *testing.T, page, test string) {
	t.Helper()
	pkg, name, ok := strings.Cut(test, " ")
	require.True(t, ok, "%s: %q must be a package and a test", page, test)
	files, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
	require.NoError(t, err)
	assert.True(t, slices.ContainsFunc(files, func(path string) bool {
		return strings.Contains(read(t, path), "\nfunc "+name+"(")
	}), "%s: package %s has no %s", page, pkg, name)
}

func TestLinksLeadToFiles(t *testing.T) {
	t.Parallel()
	found := 0
	for page, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := m[1] + m[2]
			if strings.Contains(target, "://") {
				continue
			}
			found++
			_, err := os.Stat(filepath.Join(root, filepath.Dir(page), target))
			assert.NoError(t, err, page)
		}
	}
	assert.NotZero(t, found)
}

var (
	instrument = regexp.MustCompile(`"(entragate\.[a-z_.]+)"`)
	series     = regexp.MustCompile(`\bentragate_[a-z_]+`)
)

// Every metric of the dashboard and the alert rules is one that the code has.
func TestDashboardsNameRealMetrics(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range instrument.FindAllStringSubmatch(read(t, path), -1) {
			known[strings.ReplaceAll(m[1], ".", "_")] = true
		}
		return nil
	}))
	found := 0
	for _, name := range []string{"alerts.yaml", "dashboard.json"} {
		for _, s := range series.FindAllString(read(t, root+".github/observability/"+name), -1) {
			base := s
			for _, suffix := range []string{"_bucket", "_sum", "_count", "_total", "_seconds"} {
				base = strings.TrimSuffix(base, suffix)
			}
			found++
			assert.True(t, known[base] || known[s], "%s names %s, which no package measures", name, s)
		}
	}
	assert.Greater(t, found, 8)
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}
