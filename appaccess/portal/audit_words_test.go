package portal_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess/portal"
)

// Every action that is recorded has words on the pages, and no words are left of
// an action that is gone.
func TestEveryAuditActionHasWords(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../*.go")
	require.NoError(t, err)
	var code strings.Builder
	for _, name := range files {
		if !strings.HasSuffix(name, "_test.go") {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			code.Write(text)
		}
	}
	recorded := map[string]bool{}
	for _, m := range regexp.MustCompile(`"((?:api|application|audit|credential|entra|product|request|secret|subscription|user)\.[a-z]+)"`).FindAllStringSubmatch(code.String(), -1) {
		recorded[m[1]] = true
	}
	require.Greater(t, len(recorded), 30)
	for action := range recorded {
		assert.NotEmpty(t, portal.AuditActions[action], action)
	}
	same := map[string]string{}
	for action, text := range portal.AuditActions {
		assert.Empty(t, same[text], "%s has the words of another action, which the filter of the audit trail cannot tell apart", action)
		same[text] = action
		_, verb, _ := strings.Cut(action, ".")
		made := regexp.MustCompile(`"\.?` + verb + `"`).MatchString(code.String()) // of a kind and a verb
		assert.True(t, recorded[action] || made, "nothing records %s", action)
	}
}
