package readme_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// TestSnippets holds the README's Go against code that the compiler has seen.
func TestSnippets(t *testing.T) {
	t.Parallel()
	readme := read(t, "../../README.md")
	compiled := flat(read(t, "snippets_test.go"))
	blocks := goBlock.FindAllStringSubmatch(readme, -1)
	require.GreaterOrEqual(t, len(blocks), 3, "a service owner's, a platform engineer's and a caller's")
	for _, b := range blocks {
		assert.Contains(t, compiled, flat(b[1]), "not in snippets_test.go")
	}
}

// flat takes the indentation away.
func flat(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		b.WriteString(strings.TrimLeft(line, "\t"))
	}
	return b.String()
}

var link = regexp.MustCompile(`\]\(([^)#]+)[^)]*\)|<img[^>]* src="([^"]+)"`)

// TestLinks checks that the files that the README points at are there.
func TestLinks(t *testing.T) {
	t.Parallel()
	found := 0
	for _, m := range link.FindAllStringSubmatch(read(t, "../../README.md"), -1) {
		target := m[1] + m[2]
		if strings.Contains(target, "://") {
			continue
		}
		found++
		_, err := os.Stat("../../" + target)
		assert.NoError(t, err)
	}
	assert.NotZero(t, found)
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}
