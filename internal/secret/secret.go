// Package secret carries a string that must never be printed by accident.
//
// A [Value] shows as [secret] under every fmt verb, in slog, in JSON and in
// text encodings, also when it sits in an unexported field of something that
// is printed whole. Only [Value.Reveal] gives the string back, so every place
// where a secret leaves the process can be found by that name.
//
// It does not protect memory: the string is neither encrypted nor wiped, and a
// core dump or a debugger shows it.
package secret

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// Shown is what every printed Value looks like.
const Shown = "[secret]"

// Value is an immutable secret string. The zero value is the empty secret.
// Copies compare equal with ==; two Values made separately do not, even from
// the same string: use [Value.Equal]. Safe for concurrent use.
type Value struct {
	// A function behind a pointer: fmt prints an unexported field without
	// asking its methods, and dumpers that follow pointers stop at a function.
	reveal *func() string
}

// New wraps s.
func New(s string) Value {
	if s == "" {
		return Value{}
	}
	f := func() string { return s }
	return Value{reveal: &f}
}

// Reveal returns the secret itself. What it returns prints like any string.
func (v Value) Reveal() string {
	if v.reveal == nil {
		return ""
	}
	return (*v.reveal)()
}

// IsZero reports whether the secret is empty. It makes `omitzero` work.
func (v Value) IsZero() bool { return v.reveal == nil }

// Equal compares two secrets in time that depends on their lengths only.
func (v Value) Equal(w Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(w.Reveal())) == 1
}

// String returns [Shown].
func (v Value) String() string { return Shown }

// GoString returns [Shown].
func (v Value) GoString() string { return Shown }

// Format writes [Shown] whatever the verb and flags.
func (v Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Shown)) }

// LogValue is [Shown] for log/slog.
func (v Value) LogValue() slog.Value { return slog.StringValue(Shown) }

// MarshalJSON gives [Shown] as a JSON string. There is no way back: a Value
// cannot be unmarshalled.
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + Shown + `"`), nil }

// MarshalText gives [Shown], for encodings other than JSON.
func (v Value) MarshalText() ([]byte, error) { return []byte(Shown), nil }
