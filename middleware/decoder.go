package middleware

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

var strictBase64 = base64.RawURLEncoding.Strict()

// decoder holds the buffers for decoding one token.
type decoder struct {
	raw       []byte // the part as it was sent
	part      []byte // header or claims, decoded
	text      string // a copy of part, of which the token's strings are substrings
	in        bytes.Buffer
	json      *jsontext.Decoder
	signature []byte
	required  []string // claims that are read because products require them
	elements  int      // how many array elements are allowed
}

var decoders = sync.Pool{New: func() any {
	return &decoder{json: jsontext.NewDecoder(new(bytes.Buffer))}
}}

// hash returns the SHA-256 of text. It copies text to a reused buffer.
func (d *decoder) hash(text string) [sha256.Size]byte {
	d.part = append(d.part[:0], text...)
	return sha256.Sum256(d.part)
}

// decode64 decodes canonical base64url without padding into buffer. It refuses
// everything else.
func (d *decoder) decode64(buffer []byte, part string) ([]byte, *malformed) {
	d.raw = append(d.raw[:0], part...)
	out, err := strictBase64.AppendDecode(buffer[:0], d.raw)
	if err != nil || strictBase64.EncodedLen(len(out)) != len(part) { // AppendDecode skips line ends
		return out, errEncoding
	}
	return out, nil
}

// open decodes a part and reads the start of its JSON object. It returns errEncoding
// for bad base64 and invalid for bad JSON.
func (d *decoder) open(part string, invalid *malformed) *malformed {
	var bad *malformed
	if d.part, bad = d.decode64(d.part, part); bad != nil {
		return bad
	}
	if tooMany(d.part, d.elements) {
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

var colon, comma, backslash = []byte{':'}, []byte{','}, []byte{'\\'}

// notASCII counts the bytes that are not ASCII, eight at a time.
func notASCII(text []byte) int {
	const high = 0x80_80_80_80_80_80_80_80
	n := 0
	for ; len(text) >= 8; text = text[8:] {
		if word := binary.LittleEndian.Uint64(text) & high; word != 0 {
			n += bits.OnesCount64(word)
		}
	}
	for _, c := range text {
		n += int(c >> 7)
	}
	return n
}

// tooMany reports whether JSON text has more than maxMembers colons or more than
// elements commas outside of strings, more than maxEscapes backslashes, or more
// than 6*elements bytes that are not ASCII, which are expensive to check. It first
// counts the characters in the whole text, which is cheap, and looks for strings
// only if there are too many.
func tooMany(text []byte, elements int) bool {
	if notASCII(text) > 6*elements {
		return true
	}
	colons, commas := bytes.Count(text, colon), bytes.Count(text, comma)
	if colons <= maxMembers && commas <= elements {
		return bytes.Count(text, backslash) > maxEscapes
	}
	if bytes.Count(text, backslash) > maxEscapes {
		return true
	}
	colons, commas = 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i+1:])
		case ':':
			colons++
		case ',':
			commas++
		}
		if colons > maxMembers || commas > elements {
			return true
		}
	}
	return false
}

// stringEnd returns the length of a JSON string after its opening quote, closing
// quote included.
func stringEnd(text []byte) int {
	from := 0
	for {
		i := bytes.IndexByte(text[from:], '"')
		if i < 0 {
			return len(text)
		}
		end := from + i
		escapes := 0
		for end-escapes > 0 && text[end-escapes-1] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return end + 1
		}
		from = end + 1
	}
}

// skip skips a value. It fails if the value is nested too deeply.
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

// next reads the next member's name. At the end of the object more is false, and
// nothing may follow it.
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

// value reads a value as JSON text.
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
