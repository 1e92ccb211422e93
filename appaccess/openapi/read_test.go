package openapi_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess/openapi"
)

const schemes = `
components:
  securitySchemes:
    entra: {type: oauth2, flows: {clientCredentials: {tokenUrl: "https://login.example/token", scopes: {Read: reads, Write: writes}}}}
    oidc: {type: openIdConnect, openIdConnectUrl: "https://login.example/"}
    bearer: {type: http, scheme: Bearer}
    basic: {type: http, scheme: basic}
    key: {type: apiKey, in: header, name: Api-Key}
    tls: {type: mutualTLS}
`

func document(paths string) []byte {
	return []byte("openapi: 3.1.0\ninfo: {title: Orders, version: 1.0}\nsecurity: [{entra: [Read]}]\npaths:\n" + paths + schemes)
}

// read reads a document with one operation, GET /a, of this security.
func securityOf(t *testing.T, security string) (openapi.Operation, error) {
	t.Helper()
	d, err := openapi.Read(document("  /a: {get: {" + security + "}}"))
	if err != nil {
		return openapi.Operation{}, err
	}
	require.Len(t, d.Operations, 1)
	return d.Operations[0], nil
}

func TestSecurityOnlyNarrows(t *testing.T) {
	for security, want := range map[string][][]string{
		``:                                                        {{"Read"}}, // the document's own
		`security: []`:                                            nil,
		`security: [{}]`:                                          nil,
		`security: [{entra: []}]`:                                 nil,
		`security: [{key: []}]`:                                   nil,
		`security: [{basic: []}]`:                                 nil,
		`security: [{tls: []}]`:                                   nil,
		`security: [{}, {key: []}]`:                               nil,
		`security: [{oidc: [Audit]}]`:                             {{"Audit"}},
		`security: [{bearer: [Audit]}]`:                           {{"Audit"}},
		`security: [{entra: [Write]}, {key: []}]`:                 {{"Write"}},
		`security: [{entra: [Write]}, {entra: []}]`:               {{"Write"}},
		`security: [{entra: [Write]}, {}]`:                        {{"Write"}},
		`security: [{entra: [Write, Read]}]`:                      {{"Read", "Write"}},
		`security: [{entra: [Write], oidc: [Audit]}]`:             {{"Audit", "Write"}},
		`security: [{entra: [Write]}, {entra: [Read]}]`:           {{"Write"}, {"Read"}},
		`security: [{entra: [Read, Read]}, {bearer: [Read]}]`:     {{"Read"}},
		`security: [{entra: [Write]}, {entra: [Read], oidc: []}]`: {{"Write"}, {"Read"}},
	} {
		op, err := securityOf(t, security)
		if assert.NoError(t, err, security) {
			assert.Equal(t, want, op.AnyOf, security)
			assert.Empty(t, op.Unenforceable, security)
		}
	}
}

func TestSecondSchemeCannotBeEnforced(t *testing.T) {
	for _, security := range []string{
		`security: [{entra: [Write], key: []}]`,
		`security: [{entra: [Write], tls: []}]`,
		`security: [{entra: [Write], basic: []}, {entra: [Read]}]`,
	} {
		op, err := securityOf(t, security)
		require.NoError(t, err, security)
		assert.Contains(t, op.Unenforceable, "together with a token", security)
	}
}

func TestSecurityIsStrict(t *testing.T) {
	for security, want := range map[string]string{
		`security: null`:                                  "must be a list",
		`security: {entra: [Read]}`:                       "must be a list",
		`security: [entra]`:                               "must be an object",
		`security: [{entra: Read}]`:                       "must be a list",
		`security: [{entra: [1]}]`:                        "must be a text",
		`security: [{entra: [read]}]`:                     `no scope "read"`,
		`security: [{Entra: [Read]}]`:                     `no security scheme "Entra"`,
		`security: [{"https://evil.example/scheme": []}]`: "no security scheme",
		`Security: []`:                                    "must be written security",
		`security: [], "security": []`:                    "appears twice",
	} {
		_, err := securityOf(t, security)
		assert.ErrorContains(t, err, want, security)
	}
}

func TestPathsAreStrict(t *testing.T) {
	for paths, want := range map[string]string{
		`  a: {get: {}}`:                                       "begin with a slash",
		`  /a?b: {get: {}}`:                                    "hold no query",
		`  /a/{b: {get: {}}`:                                   "each template",
		`  /a/b}: {get: {}}`:                                   "closing brace",
		`  /a/{}: {get: {}}`:                                   "each template",
		`  /{a}/{a}: {get: {}}`:                                "each template",
		"  /{a}/b: {get: {}}\n  /{c}/b: {post: {}}":            "is the same path",
		`  /a: {Get: {}}`:                                      "must be written get",
		`  /a: {get: {operationId: 1}}`:                        "must be a text",
		`  /a: {get: {operationId: x}, put: {operationId: x}}`: "used twice",
		`  /a: {additionalOperations: {GET: {}}}`:              "no field of its own",
		`  /a: {additionalOperations: {"A B": {}}}`:            "no field of its own",
		`  /a: {get: {parameters: [{name: x}]}}`:               "a parameter must have",
		`  /a: {get: {parameters: [{name: x, in: path}]}}`:     "required: true",
		`  /a: {get: {parameters: [{name: x, in: query}, {name: x, in: query}]}}`: "twice",
		"  /a: {get: {}}\n  /b: {$ref: \"#/paths/~1a\", get: {}}":                 "no other member",
		`  /a: []`: "must be an object",
	} {
		_, err := openapi.Read(document(paths))
		assert.ErrorContains(t, err, want, paths)
	}
}

func TestTemplateInsideOfASegmentIsShownOnly(t *testing.T) {
	d, err := openapi.Read(document("  \"/a/{id}.json\": {get: {}}\n  \"/b/{x}-{y}\": {get: {}}\n  \"/c/{z}\": {get: {}}"))
	require.NoError(t, err)
	require.Len(t, d.Operations, 3)
	assert.NotEmpty(t, d.Operations[0].Unenforceable)
	assert.NotEmpty(t, d.Operations[1].Unenforceable)
	assert.Empty(t, d.Operations[2].Unenforceable)
}

func TestVersions(t *testing.T) {
	for version, want := range map[string]string{
		"3.0.4": "", "3.1.1": "", "3.2.0": "", "3.1.0-rc1": "",
		"3.3.0": "openapi must be", "2.0": "openapi must be", "3.1": "openapi must be", "3.1.0\\n": "openapi must be",
	} {
		_, err := openapi.Read([]byte(`{"openapi":"` + version + `","info":{"title":"x","version":"1"},"paths":{}}`))
		if want == "" {
			assert.NoError(t, err, version)
		} else {
			assert.ErrorContains(t, err, want, version)
		}
	}
	_, err := openapi.Read([]byte(`{"swagger":"2.0"}`))
	assert.ErrorContains(t, err, "version 2 is not supported")
	for _, empty := range []string{"", "[]", "null", "---\n", "a"} {
		_, err := openapi.Read([]byte(empty))
		assert.Error(t, err, empty)
	}
}

func TestParametersAndBodies(t *testing.T) {
	d, err := openapi.Read(document(`
  /orders/{id}:
    parameters:
      - {$ref: "#/x-common/id"}
      - {name: page, in: query, description: of the path}
    put:
      operationId: putOrder
      parameters: [{name: page, in: query, description: of the operation, schema: {type: integer, format: int64, maximum: 9}}]
      requestBody: {required: true, content: {application/json: {schema: {type: object, required: [id], properties: {id: {type: string}, next: {$ref: "#/x-common"}}}}}}
      responses: {"204": {description: done}, default: {$ref: "#/x-common/error"}}
x-common:
  id: {name: id, in: path, required: true, schema: {type: [string, "null"]}}
  error: {description: failed}
`))
	require.NoError(t, err)
	op := d.Operations[0]
	require.Len(t, op.Parameters, 2)
	assert.Equal(t, "id", op.Parameters[0].Name)
	assert.Equal(t, "of the operation", op.Parameters[1].Description)
	rows, complete := op.Parameters[1].Schema.Rows()
	assert.True(t, complete)
	assert.Equal(t, []openapi.Row{{Type: "integer (int64)", Constraints: []string{"at most 9"}}}, rows)
	rows, _ = op.Parameters[0].Schema.Rows()
	assert.Equal(t, "string or null", rows[0].Type)
	require.NotNil(t, op.Body)
	assert.True(t, op.Body.Required)
	rows, _ = op.Body.Content[0].Schema.Rows()
	assert.Equal(t, []openapi.Row{
		{Type: "object"},
		{Depth: 1, Name: "id", Type: "string", Required: true},
		{Depth: 1, Name: "next", Type: "see #/x-common"},
	}, rows)
	assert.Equal(t, "done", op.Responses[0].Description)
	assert.Equal(t, "failed", op.Responses[1].Description)
}

func TestRowsAreBounded(t *testing.T) {
	deep := strings.Repeat(`{"properties":{"a":`, 20) + `{}` + strings.Repeat(`}}`, 20)
	wide := `{"properties":{` + repeated(2000, func(i int) string {
		return `"p` + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26) + `":{}`
	}) + `}}`
	d, err := openapi.Read([]byte(head + `"components":{"schemas":{"Deep":` + deep + `,"Wide":` + wide + `,"Never":false}}}`))
	require.NoError(t, err)
	require.Len(t, d.Schemas, 3)
	rows, complete := d.Schemas[0].Rows()
	assert.False(t, complete)
	assert.Len(t, rows, openapi.MaxRowDepth+1)
	rows, complete = d.Schemas[1].Rows()
	assert.False(t, complete)
	assert.Len(t, rows, openapi.MaxRows)
	rows, _ = d.Schemas[2].Rows()
	assert.Equal(t, "never", rows[0].Type)
}

func TestDownloadNamesTheGatewayOnly(t *testing.T) {
	source := document(`
  /a:
    servers: [{url: "https://path.example"}]
    get: {servers: [{url: "https://operation.example"}], requestBody: {content: {a/b: {schema: {properties: {servers: {type: string}}}}}}}`)
	source = append(source, "servers: [{url: \"https://root.example\"}]\n"...)
	d, err := openapi.Read(source)
	require.NoError(t, err)
	assert.Equal(t, []string{"https://root.example"}, d.Servers)
	out, err := d.JSON("https://gateway.example/orders")
	require.NoError(t, err)
	for _, host := range []string{"path.example", "operation.example", "root.example"} {
		assert.NotContains(t, string(out), host)
	}
	assert.Contains(t, string(out), `"servers":[{"url":"https://gateway.example/orders"}]`)
	assert.Contains(t, string(out), `"properties":{"servers":{"type":"string"}}`)
	again, err := openapi.Read(out)
	require.NoError(t, err)
	assert.Len(t, again.Operations, 1)
	plain, err := d.JSON("")
	require.NoError(t, err)
	assert.Contains(t, string(plain), "operation.example")
}

func TestNotesNameWhatHasNoEffect(t *testing.T) {
	d, err := openapi.Read(document(`  /a/{id}: {get: {callbacks: {}, security: [], speed: high, x-own: 1}}`))
	require.NoError(t, err)
	var places []string
	for _, n := range d.Notes {
		places = append(places, n.Pointer)
	}
	assert.Equal(t, []string{
		"/paths/~1a~1{id}/get/speed", "/paths/~1a~1{id}/get/callbacks", "/paths/~1a~1{id}/get/parameters", "/paths/~1a~1{id}/get/security",
	}, places)
}

func FuzzRead(f *testing.F) {
	for name := range cases {
		doc, err := os.ReadFile("testdata/cases/" + name)
		require.NoError(f, err)
		f.Add(doc)
	}
	f.Add(document(`  /a/{b}: {get: {security: [{entra: [Write]}, {key: []}]}}`))
	// What is read once is read again from its plain JSON with the same result,
	// and no alternative is empty, which would let every token pass.
	f.Fuzz(func(t *testing.T, doc []byte) {
		d, err := openapi.Read(doc)
		if err != nil {
			var refused *openapi.Error
			require.ErrorAs(t, err, &refused)
			return
		}
		plain, err := d.JSON("")
		require.NoError(t, err)
		again, err := openapi.Read(plain)
		if len(plain) > openapi.MaxSize {
			return // escapes can make the JSON longer than the source
		}
		require.NoError(t, err)
		require.Len(t, again.Operations, len(d.Operations))
		for i, op := range d.Operations {
			other := again.Operations[i]
			require.Equal(t, [3]string{op.Method, op.Path, op.ID}, [3]string{other.Method, other.Path, other.ID})
			require.Equal(t, op.AnyOf, other.AnyOf)
			require.Equal(t, op.Unenforceable, other.Unenforceable)
			for _, alternative := range op.AnyOf {
				require.NotEmpty(t, alternative)
			}
		}
		for _, s := range d.Schemas {
			rows, _ := s.Rows()
			require.LessOrEqual(t, len(rows), openapi.MaxRows)
		}
	})
}
