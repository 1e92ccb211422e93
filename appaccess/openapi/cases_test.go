package openapi_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess/openapi"
)

// cases maps each file of testdata/cases to a part of its error; empty: it is
// read.
var cases = map[string]string{
	"aliascycle.yaml":        "line 4: anchors and aliases",
	"aliascycle_schema.yaml": "line 4: anchors and aliases",
	"allof_default.json":     "",
	"allofloop.yaml":         "",
	"anyof31.json":           "",
	"anyof_example.json":     "",
	"as16.yaml":              "line 6: anchors and aliases",
	"as18.yaml":              "line 6: anchors and aliases",
	"as20.yaml":              "line 6: anchors and aliases",
	"as22.yaml":              "line 6: anchors and aliases",
	"bomb.yaml":              "line 4: anchors and aliases",
	"bomb6.yaml":             "line 4: anchors and aliases",
	"casekey.json":           "/paths/~1a/get/Security: must be written security",
	"casekey.yaml":           "/paths/~1a/get/Security: must be written security",
	"cbloop.yaml":            "",
	"dupkey.yaml":            `line 5: the key "security" appears twice`,
	"duptemplate.yaml":       `/paths/~1a~1{y}: is the same path as "/a/{x}"`,
	"externalvalue.yaml":     "",
	"file.yaml":              "only references into this document",
	"file_rel.yaml":          "only references into this document",
	"loop2.yaml":             "part of a circle",
	"mergebomb.yaml":         "line 4: anchors and aliases",
	"multidoc.yaml":          "must be one YAML document",
	"noroles31.yaml":         "",
	"paramloop.yaml":         "part of a circle",
	"pathloop.yaml":          "part of a circle",
	"pet30.yaml":             "",
	"pet31.yaml":             "",
	"pet31doc.json":          "",
	"pet32.yaml":             "",
	"ptrthrough.yaml":        "has no such value",
	"regex.json":             "",
	"remote.yaml":            "only references into this document",
	"remote31id.yaml":        "only references into this document",
	"remote_pathitem.yaml":   "only references into this document",
	"remote_schema.yaml":     "only references into this document",
	"rootref.yaml":           "only references into this document",
	"secnull.yaml":           "/paths/~1a/get/security: must be a list",
	"secopen.yaml":           "/paths/~1a/get/security: must be a list",
	"selfref.yaml":           "part of a circle",
	"unknownscheme.yaml":     `there is no security scheme "nope"`,
	"unknownscope.yaml":      `declares no scope "Nope"`,
}

func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*")
	require.NoError(t, err)
	require.Len(t, files, len(cases), "each case has an expected result")
	for _, file := range files {
		name := filepath.Base(file)
		want, ok := cases[name]
		require.True(t, ok, "no expected result for %s", name)
		doc, err := os.ReadFile(file)
		require.NoError(t, err)
		_, err = openapi.Read(doc)
		if want == "" {
			assert.NoError(t, err, name)
			continue
		}
		var refused *openapi.Error
		if assert.ErrorAs(t, err, &refused, name) {
			assert.Contains(t, err.Error(), want, name)
		}
	}
}

const head = `{"openapi":"3.1.0","info":{"title":"x","version":"1"},`

// repeated makes n parts, separated by commas.
func repeated(n int, part func(i int) string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(part(i))
	}
	return b.String()
}

// costly are documents near the limits, made to be expensive.
func costly() map[string]string {
	same := func(s string) func(int) string { return func(int) string { return s } }
	ops := repeated(2000, func(i int) string {
		return fmt.Sprintf(`"/p%d":{"$ref":"#/components/pathItems/A"}`, i)
	})
	return map[string]string{
		"wide JSON list":      head + `"x-a":[` + repeated(500_000, same("0")) + `]}`,
		"wide YAML list":      "openapi: 3.0.0\nx-a: [" + repeated(500_000, same("a")) + "]",
		"wide YAML block":     "openapi: 3.0.0\nx-a:\n" + strings.Repeat("- a\n", 250_000),
		"YAML within limits":  "openapi: 3.0.0\nx-a: [" + repeated(59_000, same("abcdefgh")) + "]",
		"YAML empty pairs":    "openapi: 3.0.0\nx-a: {" + repeated(49_000, func(i int) string { return "k" + strconv.Itoa(i) }) + "}",
		"deep JSON":           head + `"x-a":` + strings.Repeat("[", 500_000),
		"deep JSON objects":   head + `"x-a":` + strings.Repeat(`{"a":`, 200_000),
		"deep YAML":           strings.Repeat("[", 500_000),
		"deep YAML block":     strings.Repeat("- ", 500_000),
		"deep YAML questions": strings.Repeat("? ", 500_000),
		"YAML comments":       "openapi: 3.0.0\n" + strings.Repeat("#\n", 500_000) + "a: b",
		"YAML comments apart": "a:\n" + strings.Repeat(" - b\n\n # c\n", 29_000),
		"YAML long key":       strings.Repeat("a", 1_000_000) + ": b",
		"YAML open quote":     `a: "` + strings.Repeat(`\n`, 500_000),
		"YAML folded":         "a: >\n" + strings.Repeat(" b\n", 300_000),
		"YAML anchors":        strings.Repeat("- &a b\n", 140_000),
		"YAML tags":           strings.Repeat("- !a b\n", 140_000),
		"YAML directives":     strings.Repeat("%TAG !a! tag:a\n", 60_000) + "---\na: b",
		"many references":     head + `"x-a":[` + repeated(30_000, same(`{"$ref":"#/info"}`)) + `]}`,
		"chain of references": head + `"x-a":{` + repeated(20_000, func(i int) string { return fmt.Sprintf(`"a%d":{"$ref":"#/x-a/a%d"}`, i, i+1) }) + `}}`,
		"long key and references": head + `"` + strings.Repeat("k", 500_000) + `":{"a":[` +
			repeated(18_000, same(`{"$ref":"#/info"}`)) + `]}}`,
		"path item named again": head + `"paths":{` + ops + `},"components":{"pathItems":{"A":{"get":{"parameters":[` +
			repeated(5_000, func(i int) string { return fmt.Sprintf(`{"name":"a%d","in":"query"}`, i) }) + `]}}}}}`,
		"unknown members named again": head + `"paths":{` + ops + `},"components":{"pathItems":{"A":{` +
			repeated(50_000, func(i int) string { return fmt.Sprintf(`"a%d":0`, i) }) + `}}}}`,
		"security of everything": head + `"security":[` + repeated(20_000, same(`{}`)) + `],"paths":{` +
			repeated(2000, func(i int) string { return fmt.Sprintf(`"/p%d":{"get":{}}`, i) }) + `}}`,
		"2,000 operations": head + `"paths":{` + repeated(2000, func(i int) string {
			return fmt.Sprintf(`"/p%d/{id}":{"get":{"operationId":"get%d","summary":"Reads one of the many things of this service","tags":["a","b"],"parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"string"}},{"name":"limit","in":"query","schema":{"type":"integer","maximum":100}}],"responses":{"200":{"description":"ok","content":{"application/json":{"schema":{"type":"object"}}}}}}}`, i, i)
		}) + `}}`,
		"6,000 templates": head + `"paths":{` + repeated(2000, func(i int) string {
			return fmt.Sprintf(`"/%d%s":{"get":{}}`, i, strings.Repeat("/{a}", 1)+strings.Repeat("/b", 100))
		}) + `}}`,
	}
}

// maxAlloc is what reading one document may allocate in all, so it bounds what
// is in use at any moment.
const maxAlloc = 48 << 20

func TestCostlyDocumentsStayCheap(t *testing.T) {
	for name, doc := range costly() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		d, err := openapi.Read([]byte(doc))
		runtime.ReadMemStats(&after)
		alloc := after.TotalAlloc - before.TotalAlloc
		t.Logf("%-28s %5d KB: %4d MB, %v", name, len(doc)>>10, alloc>>20, err)
		assert.Less(t, alloc, uint64(maxAlloc), name)
		var refused *openapi.Error
		if err == nil {
			for _, s := range d.Schemas {
				s.Rows()
			}
		} else {
			assert.ErrorAs(t, err, &refused, name)
			assert.Less(t, len(err.Error()), 600, name)
		}
	}
}

// The package has no way to send a request or to open a file.
func TestReadReachesNothingOutside(t *testing.T) {
	allowed := map[string]bool{"github.com/entragate/entragate/appaccess": true}
	for _, p := range strings.Fields("bytes errors fmt io unicode/utf8 net/url regexp slices strconv strings github.com/go-json-experiment/json/jsontext go.yaml.in/yaml/v3") {
		allowed[p] = true
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			assert.True(t, allowed[path], "%s imports %s", name, path)
		}
	}
}
