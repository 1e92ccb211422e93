package tokenclient_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/tokenclient"
)

func TestCheckResponse(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		fields []string
		want   *tokenclient.Refusal
	}{
		"200":      {200, []string{invalidChallenge}, nil},
		"404":      {404, nil, nil},
		"401 bare": {401, nil, &tokenclient.Refusal{StatusCode: 401}},
		"403": {403, []string{`Bearer realm="api", error="insufficient_scope", error_description="need Product.Starter.All", scope="api://x/.default"`},
			&tokenclient.Refusal{StatusCode: 403, Code: "insufficient_scope", Description: "need Product.Starter.All", Scope: "api://x/.default"}},
		"other schemes first": {401, []string{`Negotiate YWJj==, Basic realm="a, Bearer error=\"x\"", bearer ERROR = invalid_token`},
			&tokenclient.Refusal{StatusCode: 401, Code: "invalid_token"}},
		"several fields": {401, []string{`Negotiate`, `Bearer error="invalid_token"`},
			&tokenclient.Refusal{StatusCode: 401, Code: "invalid_token"}},
		"twice":       {401, []string{`Bearer error="a", error="b"`}, &tokenclient.Refusal{StatusCode: 401, Code: "a"}},
		"not closed":  {401, []string{`Bearer error="inv`}, &tokenclient.Refusal{StatusCode: 401}},
		"no scheme":   {401, []string{`error="invalid_token"`}, &tokenclient.Refusal{StatusCode: 401}},
		"escaped":     {401, []string{`Bearer error_description="a \"b\" \\c"`}, &tokenclient.Refusal{StatusCode: 401, Description: `a "b" \c`}},
		"control":     {401, []string{"Bearer error_description=\"a\x01b\""}, &tokenclient.Refusal{StatusCode: 401, Description: "a b"}},
		"empty field": {401, []string{"", ",,,", "=", `"`}, &tokenclient.Refusal{StatusCode: 401}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tokenclient.CheckResponse(&http.Response{StatusCode: tt.status, Header: http.Header{"Www-Authenticate": tt.fields}})
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			var got *tokenclient.Refusal
			require.ErrorAs(t, err, &got)
			assert.Equal(t, tt.want, got)
		})
	}
}

// The text says what to do next: which scope to ask for, if the API names one.
func TestRefusalSaysWhatToDo(t *testing.T) {
	t.Parallel()
	const one, two = "api://x/.default", "api://y/.default"
	for want, r := range map[string]tokenclient.Refusal{
		`does not grant this here: ask for scope "` + one + `"; if Entra refuses that`:    {StatusCode: 403, Code: "insufficient_scope", Scope: one},
		`ask for one of the scopes "` + one + `", "` + two + `"; if`:                      {StatusCode: 403, Code: "insufficient_scope", Scope: one + " " + two},
		`ask for scope "read write"; if`:                                                  {StatusCode: 403, Code: "insufficient_scope", Scope: "read write"},
		"does not grant this: ask the API's manager for access":                           {StatusCode: 403, Code: "insufficient_scope"},
		`another API or tenant; this one takes tokens for scope "` + one + `"`:            {StatusCode: 401, Code: "invalid_token", Scope: one},
		`no usable credential was sent: ask for a token for scope "` + one + `"`:          {StatusCode: 401, Scope: one},
		`status 403: RoleMissing: it takes tokens for one of the scopes "` + one + `", "`: {StatusCode: 403, Description: "RoleMissing", Scope: one + " " + two},
	} {
		assert.Contains(t, r.Error(), want)
	}
}

// Whatever a server sends, reading it ends, stays bounded and on one line; and
// a well-formed challenge that is put behind it in a field of its own is found.
func FuzzCheckResponse(f *testing.F) {
	for _, s := range []string{"", invalidChallenge, `Negotiate YWJj==`, `Basic realm="x\`, `a=b,c d=e`, `Bearer error=, x`, "Bearer\terror\t=\t\"x\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		check := func(fields ...string) *tokenclient.Refusal {
			err := tokenclient.CheckResponse(&http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": fields}})
			var r *tokenclient.Refusal
			require.ErrorAs(t, err, &r)
			return r
		}
		r := check(field)
		assert.LessOrEqual(t, len(r.Code)+len(r.Description)+len(r.Scope), 3*700)
		assert.NotContains(t, r.Error(), "\n")
		assert.NotContains(t, r.Error(), "\r")
		if !strings.Contains(strings.ToLower(field), "bearer") {
			assert.Equal(t, "invalid_token", check(field, invalidChallenge).Code)
		}
		assert.Equal(t, "invalid_token", check(invalidChallenge, field).Code)
	})
}
