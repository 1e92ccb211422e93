package compareopenapi

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess/openapi"
)

// line is one operation as both readers see it.
type line struct{ method, path, id, summary, parameters, body, responses, security string }

func ours(d *openapi.Document) []line {
	var out []line
	for _, op := range d.Operations {
		l := line{method: op.Method, path: op.Path, id: op.ID, summary: op.Summary, security: fmt.Sprint(op.AnyOf)}
		var params []string
		for _, p := range op.Parameters {
			params = append(params, fmt.Sprint(p.In, " ", p.Name, " ", p.Required))
		}
		slices.Sort(params)
		l.parameters = strings.Join(params, ", ")
		if op.Body != nil {
			l.body = fmt.Sprint(op.Body.Required, " ", len(op.Body.Content))
		}
		var responses []string
		for _, r := range op.Responses {
			responses = append(responses, fmt.Sprint(r.Status, " ", len(r.Content)))
		}
		slices.Sort(responses)
		l.responses = strings.Join(responses, ", ")
		out = append(out, l)
	}
	return sorted(out)
}

func sorted(list []line) []line {
	slices.SortFunc(list, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.method, b.method))
	})
	return list
}

func kins(doc *openapi3.T) []line {
	var out []line
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			l := line{method: method, path: path, id: op.OperationID, summary: op.Summary, security: security(doc, op)}
			var params []string
			for _, p := range op.Parameters {
				params = append(params, fmt.Sprint(p.Value.In, " ", p.Value.Name, " ", p.Value.Required))
			}
			for _, p := range item.Parameters {
				if op.Parameters.GetByInAndName(p.Value.In, p.Value.Name) == nil {
					params = append(params, fmt.Sprint(p.Value.In, " ", p.Value.Name, " ", p.Value.Required))
				}
			}
			slices.Sort(params)
			l.parameters = strings.Join(params, ", ")
			if op.RequestBody != nil {
				l.body = fmt.Sprint(op.RequestBody.Value.Required, " ", len(op.RequestBody.Value.Content))
			}
			var responses []string
			for status, r := range op.Responses.Map() {
				responses = append(responses, fmt.Sprint(status, " ", len(r.Value.Content)))
			}
			slices.Sort(responses)
			l.responses = strings.Join(responses, ", ")
			out = append(out, l)
		}
	}
	return sorted(out)
}

// security compiles the requirements that kin read by the rule of our package:
// alternatives without roles for a token are left out.
func security(doc *openapi3.T, op *openapi3.Operation) string {
	reqs := doc.Security
	if op.Security != nil {
		reqs = *op.Security
	}
	var anyOf [][]string
	for _, alternative := range reqs {
		var roles []string
		for name, names := range alternative {
			s := doc.Components.SecuritySchemes[name].Value
			if s.Type == "oauth2" || s.Type == "openIdConnect" || s.Type == "http" && strings.EqualFold(s.Scheme, "bearer") {
				roles = append(roles, names...)
			}
		}
		slices.Sort(roles)
		roles = slices.Compact(roles)
		if len(roles) > 0 && !slices.ContainsFunc(anyOf, func(a []string) bool { return slices.Equal(a, roles) }) {
			anyOf = append(anyOf, roles)
		}
	}
	return fmt.Sprint(anyOf)
}

// agree reads a document with both. kin gets the JSON that the guard made, as
// it cannot read hostile documents itself.
func agree(t *testing.T, name string, source []byte) bool {
	t.Helper()
	d, err := openapi.Read(source)
	if err != nil {
		return false
	}
	plain, err := d.JSON("")
	require.NoError(t, err, name)
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(plain)
	require.NoError(t, err, "%s: kin refuses what openapi reads", name)
	if doc.Components == nil {
		doc.Components = &openapi3.Components{}
	}
	assert.Equal(t, kins(doc), ours(d), name)
	return true
}

func TestCasesReadAlike(t *testing.T) {
	files, err := filepath.Glob("../../appaccess/openapi/testdata/cases/*")
	require.NoError(t, err)
	read := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		if agree(t, filepath.Base(file), source) {
			read++
		}
	}
	assert.GreaterOrEqual(t, read, 10)
}

// random writes a valid document.
func random(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString(`{"openapi":"3.` + []string{"0.4", "1.1", "2.0"}[r.IntN(3)] + `","info":{"title":"x","version":"1"}`)
	if r.IntN(2) == 0 {
		b.WriteString(`,"security":` + randomSecurity(r))
	}
	b.WriteString(`,"paths":{`)
	for i := range 1 + r.IntN(6) {
		if i > 0 {
			b.WriteByte(',')
		}
		path := fmt.Sprintf("/p%d", i)
		params := `{"name":"q","in":"query"},{"$ref":"#/components/parameters/limit"}`
		if r.IntN(2) == 0 {
			path += "/{id}"
			params += `,{"name":"id","in":"path","required":true,"schema":{"type":"string"}}`
		}
		fmt.Fprintf(&b, `%q:{"parameters":[%s]`, path, params)
		for _, method := range []string{"get", "post", "put", "delete", "head"} {
			if r.IntN(2) == 0 {
				continue
			}
			fmt.Fprintf(&b, `,%q:{"operationId":"%s%d","summary":"s","responses":{"200":{"description":"ok","content":{"a/b":{"schema":{"$ref":"#/components/schemas/S"}}}},"default":{"$ref":"#/components/responses/error"}}`, method, method, i)
			if r.IntN(2) == 0 {
				b.WriteString(`,"parameters":[{"name":"q","in":"query","required":true}]`)
			}
			if r.IntN(2) == 0 {
				b.WriteString(`,"requestBody":{"$ref":"#/components/requestBodies/b"}`)
			}
			if r.IntN(2) == 0 {
				b.WriteString(`,"security":` + randomSecurity(r))
			}
			b.WriteByte('}')
		}
		b.WriteByte('}')
	}
	b.WriteString(`},"components":{"schemas":{"S":{"type":"object","properties":{"s":{"$ref":"#/components/schemas/S"}}}},
"parameters":{"limit":{"name":"limit","in":"query","schema":{"type":"integer"}}},
"responses":{"error":{"description":"failed"}},
"requestBodies":{"b":{"required":true,"content":{"a/b":{},"c/d":{}}}},
"securitySchemes":{"o":{"type":"oauth2","flows":{"clientCredentials":{"tokenUrl":"https://x/t","scopes":{"A":"a","B":"b"}}}},
"h":{"type":"http","scheme":"bearer"},"k":{"type":"apiKey","in":"header","name":"K"},"m":{"type":"http","scheme":"basic"}}}}`)
	return b.String()
}

func randomSecurity(r *rand.Rand) string {
	var list []string
	for range r.IntN(4) {
		var names []string
		for _, s := range []string{`"o":["A"]`, `"h":["B","A"]`, `"k":[]`, `"m":[]`} {
			if r.IntN(3) == 0 {
				names = append(names, s)
			}
		}
		list = append(list, "{"+strings.Join(names, ",")+"}")
	}
	return "[" + strings.Join(list, ",") + "]"
}

func TestRandomDocumentsReadAlike(t *testing.T) {
	for seed := range uint64(300) {
		source := random(rand.New(rand.NewPCG(seed, 1)))
		require.True(t, agree(t, fmt.Sprint("seed ", seed), []byte(source)), "seed %d is refused", seed)
	}
}
