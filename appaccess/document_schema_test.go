package appaccess_test

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/schemacheck"
)

// fullDocument uses every member that a document can have.
const fullDocument = `{
  "$schema": "document.schema.json",
  "version": 1,
  "apis": [{
    "id": "orders", "name": "Orders", "path": "/v1/orders", "description": "Orders of customers", "serviceUrl": "https://orders.internal:8443/api",
    "allowEncodedSlash": true, "keyHeader": "X-Key", "keyQuery": "key", "enforcement": "enforce",
    "operations": [{
      "id": "get-order", "method": "GET", "path": "/{id}", "summary": "Reads an order", "tags": ["orders"],
      "anyOf": [["Read"], ["Support", "Write"]], "set": true, "declared": [["Read"]], "byHand": true, "gone": true
    }]
  }, {
    "id": "old", "name": "Old", "path": "/old",
    "operations": [{"id": "any", "method": "GET", "path": "/{any}.json", "unenforceable": "a parameter must be a whole segment"}]
  }],
  "products": [{
    "id": "gold", "name": "Gold", "description": "For partners", "published": true, "suspended": true, "access": {"token": true, "key": true},
    "apis": ["orders"], "permissions": [{"name": "Read", "description": "Reads orders"}, {"name": "Write"}, {"name": "Support"}],
    "selfService": "open", "perDeveloper": 3,
    "adopt": "00001111-aaaa-2222-bbbb-3333cccc4444", "adoptChanges": {"rename": true, "tokenVersion2": true}
  }],
  "users": [{
    "id": "ada", "name": "Ada", "email": "ada@example.com", "blocked": true,
    "tenantId": "00001111-aaaa-2222-bbbb-3333cccc4444", "objectId": "00001111-aaaa-2222-bbbb-3333cccc5555"
  }],
  "applications": [{
    "id": "billing", "name": "Billing", "description": "Sends invoices", "ownerId": "ada", "suspended": true,
    "grants": [{"product": "gold", "permissions": ["Read", "Write"]}],
    "adopt": "00001111-aaaa-2222-bbbb-3333cccc6666", "adoptChanges": {"rename": true, "tokenVersion2": true}
  }, {
    "id": "vm", "name": "VM", "ownerId": "ada", "grants": [{"product": "gold", "permissions": ["All"]}],
    "servicePrincipal": {"objectId": "00001111-aaaa-2222-bbbb-3333cccc7777", "clientId": "00001111-AAAA-2222-bbbb-3333cccc8888"}
  }],
  "subscriptions": [{
    "id": "try-out", "name": "Try out", "ownerId": "ada", "scope": "/products/gold", "state": "active", "expires": "2030-01-02T03:04:05.5+01:00",
    "primaryHash": "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    "secondaryHash": "FF112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
  }]
}`

func documentSchema(t *testing.T) schemacheck.Schema {
	t.Helper()
	s, err := schemacheck.Parse(appaccess.DocumentSchema())
	require.NoError(t, err)
	return s
}

// The schema has exactly the members of the Go types, each described.
func TestTheDocumentSchemaHasEveryField(t *testing.T) {
	t.Parallel()
	objects := 0
	var compare func(at string, s schemacheck.Schema, v reflect.Type)
	compare = func(at string, s schemacheck.Schema, v reflect.Type) {
		switch {
		case v == reflect.TypeFor[time.Time](), v == reflect.TypeFor[appaccess.KeyHash]():
		case v.Kind() == reflect.Slice:
			items, ok := s.Items()
			if assert.True(t, ok, at) {
				compare(at+"[]", items, v.Elem())
			}
		case v.Kind() == reflect.Struct:
			objects++
			o, ok := s.Object()
			require.True(t, ok, at)
			assert.True(t, o.Closed, "%s takes unknown members", at)
			fields := map[string]reflect.Type{}
			for f := range v.Fields() {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				fields[name] = f.Type
			}
			if at == "" {
				fields["$schema"] = reflect.TypeFor[string]() // which ParseDocument ignores
			}
			assert.ElementsMatch(t, slices.Collect(maps.Keys(fields)), slices.Collect(maps.Keys(o.Properties)), at)
			for name, property := range o.Properties {
				assert.True(t, o.Described[name], "%s.%s has no description", at, name)
				if fields[name] != nil {
					compare(at+"."+name, property, fields[name])
				}
			}
		}
	}
	compare("", documentSchema(t), reflect.TypeFor[appaccess.Document]())
	assert.Greater(t, objects, 10)
}

var jsonBlock = regexp.MustCompile("(?s)```json\n(.*?)```")

// Every document of the repository and every exported document keeps to the schema.
func TestDocumentsKeepToTheirSchema(t *testing.T) {
	t.Parallel()
	schema := documentSchema(t)
	check := func(name, text string) {
		t.Helper()
		assert.Empty(t, schema.Violations(name, []byte(text)))
		_, err := appaccess.ParseDocument(strings.NewReader(text))
		assert.NoError(t, err, name)
	}
	check("the sample", sampleDocument)
	check("a document with every member", fullDocument)
	check("null", `{"version": 1, "apis": null, "products": null, "users": null, "applications": null, "subscriptions": null}`)
	for _, name := range []string{
		"testdata/plan-base.json", "testdata/plan-hidden.json", "../provision/entragate/testdata/plan-base.json",
		"../provision/entragate/testdata/plan-hidden.json", "../provision/entragate/testdata/keys-only.json",
	} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		check(name, string(text))
	}
	page, err := os.ReadFile("../provision/README.md")
	require.NoError(t, err)
	blocks := jsonBlock.FindAllStringSubmatch(string(page), -1)
	require.NotEmpty(t, blocks)
	for _, b := range blocks {
		check("provision/README.md", b[1])
	}

	h := newFixture(t)
	d := parse(t, fullDocument)
	d.Products[0].Adopt, d.Applications[0].Adopt = "", ""
	_, err = h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	var text strings.Builder
	require.NoError(t, h.Export(ctx, boss, &text))
	check("an exported document", text.String())
}

// fullDocument really has every member, so the comparison below misses none.
func TestTheFullDocumentHasEveryMember(t *testing.T) {
	t.Parallel()
	var v any
	require.NoError(t, json.Unmarshal([]byte(fullDocument), &v))
	var compare func(at string, s schemacheck.Schema, values []any)
	compare = func(at string, s schemacheck.Schema, values []any) {
		if items, ok := s.Items(); ok {
			var all []any
			for _, list := range values {
				all = append(all, list.([]any)...)
			}
			compare(at+"[]", items, all)
			return
		}
		if o, ok := s.Object(); ok {
			for name, property := range o.Properties {
				var below []any
				for _, value := range values {
					if member, ok := value.(map[string]any)[name]; ok {
						below = append(below, member)
					}
				}
				if assert.NotEmpty(t, below, "%s.%s", at, name) {
					compare(at+"."+name, property, below)
				}
			}
		}
	}
	compare("", documentSchema(t), []any{v})
}

// edits yields copies of a value in which one member is missing, or has another
// value, or in which an object has one member more.
func edits(v any, yield func(what string, edited any)) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			without := maps.Clone(v)
			delete(without, name)
			yield(name+" is missing", without)
			edits(member, func(what string, edited any) {
				with := maps.Clone(v)
				with[name] = edited
				yield(name+"."+what, with)
			})
		}
		more := maps.Clone(v)
		more["unknown"] = 1
		yield("has an unknown member", more)
		yield("is a list", []any{})
	case []any:
		for i, item := range v {
			edits(item, func(what string, edited any) {
				with := slices.Clone(v)
				with[i] = edited
				yield(what, with)
			})
		}
		yield("is an object", map[string]any{})
		yield("holds a number", []any{7})
	case string:
		for _, other := range []any{
			"", " x ", "Ünï/<>", "a\nb", "..", "all", strings.Repeat("x", 81), strings.Repeat("x", 301), strings.Repeat("x", 1001), "/a//b", "/a/../b", "a@b@c",
			"ftp://x", "https://u@x/", "https://x/?q", "00001111-aaaa-2222-bbbb-3333cccc44zz", "2030-01-02", 7, true,
		} {
			yield("is "+jsonText(other), other)
		}
	case bool:
		yield("is a string", "true")
	case float64:
		yield("is -1", -1)
		yield("is 1001", 1001)
		yield("is 1.5", 1.5)
		yield("is a string", "1")
	}
}

func jsonText(v any) string {
	text, _ := json.Marshal(v)
	return string(text[:min(len(text), 40)])
}

var (
	// onlyImport are edits that a schema cannot refuse in a way that its reader
	// understands, or that only matter to an API whose operations are enforced.
	onlyImport = regexp.MustCompile(`^operations\.path\.is "(/a//b|/a/\.\./b)"|` +
		`^access(\.token)? is missing|` + // adopt needs it
		`^(tenantId|objectId)\.is ""`) // both or neither
	// onlySchema are edits of operations that are not enforced: an import keeps
	// their methods and paths as text, for people.
	onlySchema = regexp.MustCompile(`^operations\.(method|path)[. ]`)
)

// Whatever the schema refuses an import refuses, and the reverse, apart from what
// a schema cannot say.
func TestTheSchemaRefusesWhatAnImportRefuses(t *testing.T) {
	t.Parallel()
	schema := documentSchema(t)
	var full map[string]any
	require.NoError(t, json.Unmarshal([]byte(fullDocument), &full))
	refused := 0
	var differ []string
	compare := func(what string, document any) {
		text, err := json.Marshal(document)
		require.NoError(t, err)
		found := schema.Violations("", text)
		_, err = appaccess.ParseDocument(strings.NewReader(string(text)))
		if len(found) > 0 {
			refused++
		}
		switch {
		case len(found) > 0 && err == nil && !onlySchema.MatchString(what):
			differ = append(differ, what+": only the schema refuses it: "+found[0])
		case len(found) == 0 && err != nil && !onlyImport.MatchString(what):
			differ = append(differ, what+": only the import refuses it: "+err.Error())
		}
	}
	edits(map[string]any{"version": 1.0, "apis": []any{}}, compare)
	for _, section := range []string{"apis", "products", "users", "applications", "subscriptions"} {
		for _, object := range full[section].([]any) {
			edits(object, func(what string, edited any) {
				compare(what, map[string]any{"version": 1, section: []any{edited}})
			})
		}
	}
	assert.Empty(t, differ)
	assert.Greater(t, refused, 700)
}
