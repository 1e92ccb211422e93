package openapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// MaxSize is the most bytes of a document.
const MaxSize = 1 << 20

const (
	maxDepth  = 64
	maxValues = 100_000

	maxYAMLMarks = 60_000
)

// Error refuses a document.
type Error struct {
	// Pointer is the JSON pointer of the value concerned, such as
	// /paths/~1orders/get/security; empty if the reason names a line instead or
	// concerns the whole document.
	Pointer string
	Reason  string // what is wrong and what is expected
}

func (e *Error) Error() string {
	if e.Pointer == "" {
		return "OpenAPI document: " + e.Reason
	}
	return "OpenAPI document: " + e.Pointer + ": " + e.Reason
}

func refuse(format string, args ...any) error {
	return &Error{Reason: fmt.Sprintf(format, args...)}
}

// guard makes a tree of strict plain JSON values.
func guard(doc []byte) (*value, error) {
	if len(doc) > MaxSize {
		return nil, refuse("must have at most %d bytes, has %d", MaxSize, len(doc))
	}
	if !utf8.Valid(doc) {
		return nil, refuse("must be valid UTF-8")
	}
	doc = bytes.TrimPrefix(doc, []byte("\xef\xbb\xbf"))
	b := &builder{}
	var root value
	var err error
	if first := bytes.TrimLeft(doc, " \t\r\n"); len(first) > 0 && first[0] == '{' {
		root, err = b.fromJSON(doc)
	} else {
		root, err = b.fromYAML(doc)
	}
	if err != nil {
		return nil, err
	}
	if root.kind != '{' {
		return nil, refuse("must be an object")
	}
	return &root, checkRefs(&root)
}

// builder counts the values that it makes.
type builder struct{ values int }

func (b *builder) spend(depth int) error {
	if b.values++; b.values > maxValues {
		return refuse("must have at most %d values", maxValues)
	}
	if depth > maxDepth {
		return refuse("must have at most %d levels", maxDepth)
	}
	return nil
}

// fromJSON relies on jsontext, which refuses duplicate names and escapes that
// are no valid Unicode.
func (b *builder) fromJSON(doc []byte) (value, error) {
	d := jsontext.NewDecoder(bytes.NewReader(doc))
	root, err := b.json(d)
	if err == nil {
		if _, err = d.ReadToken(); errors.Is(err, io.EOF) {
			return root, nil
		}
		if err == nil {
			err = errors.New("more follows after the document's end")
		}
	}
	var refused *Error
	if errors.As(err, &refused) {
		return value{}, err
	}
	return value{}, refuse("is no valid JSON: %v", err)
}

func (b *builder) json(d *jsontext.Decoder) (value, error) {
	if err := b.spend(d.StackDepth()); err != nil {
		return value{}, err
	}
	t, err := d.ReadToken()
	if err != nil {
		return value{}, err
	}
	v := value{kind: t.Kind()}
	switch v.kind {
	case '{':
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return value{}, err
			}
			key := name.String()
			item, err := b.json(d)
			if err != nil {
				return value{}, err
			}
			v.items = append(v.items, member{key, item})
		}
		_, err = d.ReadToken()
	case '[':
		for d.PeekKind() != ']' {
			item, err := b.json(d)
			if err != nil {
				return value{}, err
			}
			v.items = append(v.items, member{"", item})
		}
		_, err = d.ReadToken()
	case '"', '0':
		v.text = t.String()
	}
	return v, err
}

// fromYAML reads nodes only: package yaml then expands no alias and runs no
// conversion.
func (b *builder) fromYAML(doc []byte) (value, error) {
	if err := countYAML(doc); err != nil {
		return value{}, err
	}
	d := yaml.NewDecoder(bytes.NewReader(doc))
	var root, more yaml.Node
	switch err := d.Decode(&root); {
	case errors.Is(err, io.EOF):
		return value{}, refuse("is empty")
	case err != nil:
		return value{}, refuse("is no valid YAML: %v", err)
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return value{}, refuse("must be one YAML document, not several")
	}
	if root.Kind != yaml.DocumentNode || len(root.Content) != 1 {
		return value{}, refuse("is empty")
	}
	return b.yaml(root.Content[0], 0)
}

// countYAML refuses a document that could have far more nodes than values are
// allowed, before package yaml makes a node of about 180 bytes from each.
func countYAML(doc []byte) error {
	n := 0
	for i, c := range doc {
		switch c {
		case '[', '{', ',', '#':
			n++
		case ':', '-', '?':
			if i+1 == len(doc) || strings.IndexByte(" \t\r\n,[]{}", doc[i+1]) >= 0 {
				n++
			}
		}
	}
	if n > maxYAMLMarks {
		return refuse("must have at most %d values and comments in YAML: give a larger document as JSON", maxYAMLMarks)
	}
	return nil
}

func (b *builder) yaml(y *yaml.Node, depth int) (value, error) {
	if err := b.spend(depth); err != nil {
		return value{}, err
	}
	if y.Kind == yaml.AliasNode || y.Anchor != "" {
		return value{}, refuse("line %d: anchors and aliases are not allowed: write the value out, or use $ref", y.Line)
	}
	if y.Style&yaml.TaggedStyle != 0 {
		return value{}, refuse("line %d: tags such as %.20q are not allowed", y.Line, y.Tag)
	}
	switch y.Kind {
	case yaml.MappingNode:
		return b.yamlObject(y, depth)
	case yaml.SequenceNode:
		v := value{kind: '[', items: make([]member, 0, len(y.Content))}
		for _, c := range y.Content {
			item, err := b.yaml(c, depth+1)
			if err != nil {
				return value{}, err
			}
			v.items = append(v.items, member{"", item})
		}
		return v, nil
	}
	return scalar(y), nil
}

func (b *builder) yamlObject(y *yaml.Node, depth int) (value, error) {
	v := value{kind: '{', items: make([]member, 0, len(y.Content)/2)}
	seen := make(map[string]bool, len(y.Content)/2)
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := y.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" || key.Anchor != "" || key.Style&yaml.TaggedStyle != 0 {
			return value{}, refuse("line %d: a key must be plain text, not an anchor, an alias, a tag, a list or the merge key <<", key.Line)
		}
		if seen[key.Value] {
			return value{}, refuse("line %d: the key %.60q appears twice", key.Line, key.Value)
		}
		seen[key.Value] = true
		item, err := b.yaml(y.Content[i+1], depth+1)
		if err != nil {
			return value{}, err
		}
		v.items = append(v.items, member{key.Value, item})
	}
	return v, nil
}

// scalar reads what JSON can express. Other numbers (0x1F, .inf) and dates stay
// text.
func scalar(y *yaml.Node) value {
	switch y.ShortTag() {
	case "!!null":
		return value{kind: 'n'}
	case "!!bool":
		if y.Value == "true" || y.Value == "True" || y.Value == "TRUE" {
			return value{kind: 't'}
		}
		return value{kind: 'f'}
	case "!!int", "!!float":
		if jsontext.Value(y.Value).Kind() == '0' && jsontext.Value(y.Value).IsValid() {
			return value{kind: '0', text: y.Value}
		}
	}
	return value{kind: '"', text: y.Value}
}
