package schemacheck

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryKeywordIsChecked(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ schema, good, bad string }{
		{`{"const": 1}`, `1`, `2`},
		{`{"enum": ["a", "b"]}`, `"a"`, `"c"`},
		{`{"type": "integer"}`, `1`, `1.5`},
		{`{"type": ["array", "null"]}`, `null`, `{}`},
		{`{"items": {"type": "string"}}`, `["a"]`, `["a", 1]`},
		{`{"properties": {"a": {"type": "boolean"}}}`, `{"a": true}`, `{"a": 1}`},
		{`{"required": ["a"]}`, `{"a": 1}`, `{}`},
		{`{"properties": {"a": {}}, "additionalProperties": false}`, `{"a": 1}`, `{"b": 1}`},
		{`{"dependentRequired": {"a": ["b"]}}`, `{"b": 1}`, `{"a": 1}`},
		{`{"oneOf": [{"minimum": 2}, {"maximum": 3}]}`, `4`, `2`},
		{`{"anyOf": [{"const": 1}, {"const": 2}]}`, `2`, `3`},
		{`{"not": {"const": 1}}`, `2`, `1`},
		{`{"pattern": "^a$"}`, `"a"`, `"ab"`},
		{`{"minLength": 1}`, `"ü"`, `""`},
		{`{"maxLength": 1}`, `"ü"`, `"üü"`},
		{`{"minItems": 1}`, `[1]`, `[]`},
		{`{"maxItems": 1}`, `[1]`, `[1, 2]`},
		{`{"uniqueItems": true}`, `[1, 2]`, `[1, 1]`},
		{`{"minimum": 1}`, `1`, `0`},
		{`{"maximum": 1}`, `1`, `2`},
		{`{"$ref": "#/$defs/a", "$defs": {"a": {"const": 1}}}`, `1`, `2`},
	} {
		s, err := Parse(row.schema)
		require.NoError(t, err, row.schema)
		assert.Empty(t, s.Violations("it", []byte(row.good)), row.schema)
		assert.NotEmpty(t, s.Violations("it", []byte(row.bad)), row.schema)
	}
}

func TestUnknownKeywordsAreRefused(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{
		`{"if": {}}`, `{"properties": {"a": {"prefixItems": []}}}`, `{"$defs": {"a": {"items": {"multipleOf": 2}}}}`,
		`{"anyOf": [{"contains": {}}]}`, `{"additionalProperties": {"type": "string"}}`, `{`,
	} {
		_, err := Parse(schema)
		assert.Error(t, err, schema)
	}
}
