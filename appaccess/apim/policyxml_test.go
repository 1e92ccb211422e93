package apim

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParsePolicyReadsExpressionsAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"escaped": `<policies><inbound><choose><when condition="@(g =&gt; g.Name == &quot;x&quot;)"><a/></when></choose></inbound></policies>`,
		"raw":     `<policies><inbound><choose><when condition="@(g => g.Name == "x>\")")"><a/></when></choose></inbound></policies>`,
		"comment": `<?xml version="1.0"?><!-- <b> --><policies><inbound><choose><when condition='@{ return "}"; }'><a></a></when></choose></inbound></policies>`,
	} {
		root, err := parsePolicy(text)
		require.NoError(t, err, name)
		inbound := root.sections()[0]
		require.Equal(t, "inbound", inbound.name, name)
		when := inbound.children[0].children[0]
		assert.Equal(t, "when", when.name, name)
		assert.True(t, when.expression(), name)
		assert.Equal(t, "a", when.children[0].name, name)
	}
}

func TestParsePolicyRefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	deep := ""
	for range maxPolicyDepth + 2 {
		deep += "<a>"
	}
	for _, text := range []string{"", "text", "<policies>", "<policies", "</policies>", `<a b="@(`, `<a b=c/>`, "<!--", deep} {
		_, err := parsePolicy(text)
		assert.Error(t, err, text)
	}
}

// Every element of a document that is accepted has a name and an end, and the
// numbers of elements and levels are bounded.
func FuzzParsePolicy(f *testing.F) {
	f.Add(`<policies><inbound><base /><set-header name="a"><value>@(context.RequestId)</value></set-header></inbound></policies>`)
	f.Add(`<a b='@{ return "}"; }'>&lt;</a>`)
	f.Fuzz(func(t *testing.T, text string) {
		root, err := parsePolicy(text)
		if err != nil {
			return
		}
		nodes := 0
		var walk func(n *node, depth int)
		walk = func(n *node, depth int) {
			nodes++
			require.LessOrEqual(t, depth, maxPolicyDepth+1)
			for _, c := range n.children {
				require.NotEmpty(t, c.name)
				walk(c, depth+1)
			}
		}
		walk(root, 0)
		require.LessOrEqual(t, nodes, maxPolicyNodes+2)
	})
}
