package secret_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html/template"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/secret"
)

const plain = "s3cr3t-Zq8"

type holder struct {
	Open   secret.Value
	hidden secret.Value
	ptr    *secret.Value
	list   []secret.Value
}

// Every way of printing that a program commonly has, over a bare value and
// over structs that hold it openly, hidden, by pointer and in a slice.
func TestNeverPrints(t *testing.T) {
	t.Parallel()
	v := secret.New(plain)
	h := holder{Open: v, hidden: v, ptr: &v, list: []secret.Value{v}}
	for _, x := range []any{v, &v, h, &h, []any{v}, map[string]any{"k": v}, error(fmt.Errorf("wrapped: %v", v))} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %p", "%10.3s"} {
			assertHidden(t, verb, fmt.Sprintf(verb, x))
		}
		assertHidden(t, "json", mustJSON(t, x))
		assertHidden(t, "testify", failure(x))
		for _, log := range []string{logged(x, false), logged(x, true)} {
			assertHidden(t, "slog", log)
		}
	}
}

func TestNeverPrintsInDocuments(t *testing.T) {
	t.Parallel()
	v := secret.New(plain)
	out, err := xml.Marshal(v)
	require.NoError(t, err)
	assertHidden(t, "xml", string(out))
	var b bytes.Buffer
	require.NoError(t, template.Must(template.New("").Parse(`<p title="{{.}}">{{.}}</p>`)).Execute(&b, v))
	assertHidden(t, "html", b.String())
	assert.Contains(t, b.String(), secret.Shown)
}

func TestRevealAndCompare(t *testing.T) {
	t.Parallel()
	v := secret.New(plain)
	copied := v
	assert.Equal(t, plain, v.Reveal())
	assert.True(t, v == copied)
	assert.True(t, v.Equal(secret.New(plain)))
	assert.False(t, v.Equal(secret.New("other")))
	assert.False(t, v.IsZero())
	var zero secret.Value
	assert.True(t, zero.IsZero())
	assert.True(t, secret.New("").IsZero())
	assert.Empty(t, zero.Reveal())
	assert.Equal(t, secret.Shown, fmt.Sprint(zero))
	decode := func(into any) error { return json.Unmarshal([]byte(`"x"`), into) }
	require.Error(t, decode(&zero), "there is no way back")
}

func assertHidden(t *testing.T, how, out string) {
	t.Helper()
	assert.False(t, bytes.Contains([]byte(out), []byte(plain)), how)
	assert.False(t, bytes.Contains([]byte(out), []byte(fmt.Sprintf("%x", plain))), how)
}

// failure is what a failed testify comparison prints: it dumps by reflection
// and follows pointers.
func failure(x any) string {
	var r recorder
	assert.Equal(&r, x, holder{Open: secret.New("another")})
	return r.String()
}

type recorder struct{ bytes.Buffer }

func (r *recorder) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }

func mustJSON(t *testing.T, x any) string {
	t.Helper()
	if _, ok := x.(error); ok {
		return ""
	}
	out, err := json.Marshal(x)
	require.NoError(t, err)
	return string(out)
}

func logged(x any, asJSON bool) string {
	var b bytes.Buffer
	var h slog.Handler = slog.NewTextHandler(&b, nil)
	if asJSON {
		h = slog.NewJSONHandler(&b, nil)
	}
	slog.New(h).Info("m", "x", x)
	return b.String()
}
