package middleware

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

var strictBase64 = base64.RawURLEncoding.Strict()

// decoder holds the buffers of one check.
type decoder struct {
	part      []byte // header or claims, decoded
	text      string // the same, immutable: what a token's strings are parts of
	in        bytes.Buffer
	json      *jsontext.Decoder
	signature []byte
}

var decoders = sync.Pool{New: func() any {
	return &decoder{json: jsontext.NewDecoder(new(bytes.Buffer))}
}}

// hash is a text's SHA-256, without a copy of it for each.
func (d *decoder) hash(text string) [sha256.Size]byte {
	d.part = append(d.part[:0], text...)
	return sha256.Sum256(d.part)
}

// decode64 decodes what is canonical base64url without padding. It reuses a
// buffer.
func decode64(buffer []byte, part string) ([]byte, *malformed) {
	out, err := strictBase64.AppendDecode(buffer[:0], []byte(part))
	if err != nil || strictBase64.EncodedLen(len(out)) != len(part) { // it skips line ends
		return out, errEncoding
	}
	return out, nil
}

// open decodes a part and begins its object. The error is nil, errEncoding or
// the one given.
func (d *decoder) open(part string, invalid *malformed) *malformed {
	var bad *malformed
	if d.part, bad = decode64(d.part, part); bad != nil {
		return bad
	}
	// Counting colons costs nothing, counting members a little.
	if bytes.Count(d.part, colon) > maxMembers && members(d.part) > maxMembers {
		return invalid
	}
	d.text = string(d.part)
	d.in = *bytes.NewBuffer(d.part)
	d.json.Reset(&d.in, jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false))
	if tok, err := d.json.ReadToken(); err != nil || tok.Kind() != '{' {
		return invalid
	}
	return nil
}

var colon = []byte{':'}

// members counts the members of all objects in JSON text, without decoding it.
func members(text []byte) int {
	n, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ':' && !quoted:
			n++
		}
	}
	return n
}

// skip passes over a value that is not looked at, unless it is too deep.
func (d *decoder) skip() error {
	outer := d.json.StackDepth()
	for {
		if d.json.StackDepth()-outer > maxDepth {
			return errDepth
		}
		switch d.json.PeekKind() {
		case '{', '[', '}', ']':
			if _, err := d.json.ReadToken(); err != nil {
				return err
			}
		default:
			if err := d.json.SkipValue(); err != nil {
				return err
			}
		}
		if d.json.StackDepth() == outer {
			return nil
		}
	}
}

var errDepth = errors.New("depth")

// next reads the next member's name, or reports the end of the object and of
// the text.
func (d *decoder) next() (name string, more bool, err error) {
	if d.json.PeekKind() != '}' {
		name, err = d.str()
		return name, true, err
	}
	if _, err := d.json.ReadToken(); err != nil {
		return "", false, err
	}
	if _, err := d.json.ReadToken(); !errors.Is(err, io.EOF) {
		return "", false, errTrailing
	}
	return "", false, nil
}

var errTrailing = errors.New("text after the object")

// value reads a value as it stands.
func (d *decoder) value() (string, error) {
	v, err := d.json.ReadValue()
	if err != nil {
		return "", err
	}
	end := int(d.json.InputOffset())
	return d.text[end-len(v) : end], nil
}

var errType = errors.New("type")

// str reads a string.
func (d *decoder) str() (string, error) {
	v, err := d.value()
	if err != nil {
		return "", err
	}
	if v[0] != '"' {
		return "", errType
	}
	if strings.IndexByte(v, '\\') < 0 {
		return v[1 : len(v)-1], nil
	}
	out, err := jsontext.AppendUnquote(nil, v)
	return string(out), err
}

// strs reads an array of strings.
func (d *decoder) strs() ([]string, error) {
	if d.json.PeekKind() != '[' {
		return nil, errType
	}
	if _, err := d.json.ReadToken(); err != nil {
		return nil, err
	}
	out := make([]string, 0, 4)
	for d.json.PeekKind() != ']' {
		s, err := d.str()
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	_, err := d.json.ReadToken()
	return out, err
}

// audience reads a string or an array of strings (RFC 7519, 4.1.3).
func (d *decoder) audience() ([]string, error) {
	if d.json.PeekKind() == '[' {
		return d.strs()
	}
	s, err := d.str()
	return []string{s}, err
}

// lastSecond is the end of the year 9999.
const lastSecond = 253402300799

// seconds reads a NumericDate: here a whole number of seconds from 1970 to
// 9999, as Entra writes it.
func (d *decoder) seconds() (jwt.NumericDate, error) {
	v, err := d.value()
	if err != nil {
		return jwt.NumericDate{}, err
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 1 || n > lastSecond {
		return jwt.NumericDate{}, errType
	}
	return jwt.NumericDate{Time: time.Unix(n, 0)}, nil
}
