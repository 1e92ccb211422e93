package middleware

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const goodHeader = `{"typ":"JWT","alg":"RS256","kid":"k1"}`

func compactOf(header, claims string) string {
	e := base64.RawURLEncoding
	return e.EncodeToString([]byte(header)) + "." + e.EncodeToString([]byte(claims)) + "." + e.EncodeToString([]byte("signature"))
}

// parse decodes a whole token.
func parse(raw string, algorithms ...string) (*token, *malformed) {
	c, bad := split(raw, defaultTokenSize)
	if bad != nil {
		return nil, bad
	}
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	d.elements, d.required = defaultTokenSize/48, nil
	return d.decode(&c, algorithms, nil)
}

func TestParse(t *testing.T) {
	t.Parallel()
	tok, bad := parse(compactOf(`{"alg":"RS256","x5t":"a","kid":"k\u0031","typ":"at+jwt","n":{"a":[1,{"b":null}]}}`,
		` {"iss":"i","aud":["a","b"],"exp":2000000000,"nbf":1,"iat":2,"roles":[],"\u0074id":"t\u0021","other":{"roles":[{"deep":[true]}]},"ver":"1.0","scp":"","oid":""} `), "RS256")
	require.Nil(t, bad)
	assert.Equal(t, []any{"RS256", "k1", "i", "t!", "1.0", int64(2000000000), int64(1), int64(2)},
		[]any{tok.alg, tok.kid, tok.iss, tok.tid, tok.ver, tok.exp.Unix(), tok.nbf.Unix(), tok.iat.Unix()})
	assert.Equal(t, []string{"a", "b"}, tok.aud)
	assert.Equal(t, []string{}, tok.roles)
	for c, want := range map[claimSet]bool{hasScp: true, hasOid: true, hasRoles: true, hasSub: false, hasNonce: false, hasIdtyp: false} {
		assert.Equal(t, want, tok.has(c), c)
	}
}

func TestParseBounds(t *testing.T) {
	t.Parallel()
	members := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"m%d":":"`, i)
		}
		return `{"iss":"i"` + b.String() + `}`
	}
	elements := func(n int) string { return `{"x":[` + strings.Repeat("1,", n-1) + `1]}` }
	nested := func(n int) string { return `{"x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` }
	for name, tc := range map[string]struct {
		header, claims string
		ok             bool
	}{
		"100 members":         {goodHeader, members(99), true},
		"129 elements":        {goodHeader, elements(129), true},
		"130 elements":        {goodHeader, elements(130), false},
		"an eighth not ASCII": {goodHeader, `{"x":"` + strings.Repeat("é", defaultTokenSize/16) + `"}`, true},
		"more not ASCII":      {goodHeader, `{"x":"` + strings.Repeat("é", defaultTokenSize/16+1) + `"}`, false},
		"elements in lists":   {goodHeader, `{"x":[` + strings.Repeat("[],", 300) + `[]]}`, false},
		"commas in a text":    {goodHeader, `{"x":"` + strings.Repeat(",", 3000) + `\\","y":"\","}`, true},
		"257 escapes":         {goodHeader, `{"x":"` + strings.Repeat(`\"`, 257) + `"}`, false},
		"101 members":         {goodHeader, members(100), false},
		"101 nested members":  {goodHeader, `{"x":` + members(99) + `}`, false},
		"100 colons in text":  {goodHeader, `{"x":"` + strings.Repeat(":", 500) + `"}`, true},
		"8 levels":            {goodHeader, nested(8), true},
		"9 levels":            {goodHeader, nested(9), false},
		"half of the token":   {goodHeader, `{"x":"` + strings.Repeat("x", defaultTokenSize/2-8) + `"}`, true},
		"more than half":      {goodHeader, `{"x":"` + strings.Repeat("x", defaultTokenSize/2-7) + `"}`, false},
		"2 KiB header":        {`{"x":"` + strings.Repeat("x", maxHeader-len(goodHeader)-7) + `",` + goodHeader[1:], `{}`, true},
		"larger header":       {`{"x":"` + strings.Repeat("x", maxHeader-len(goodHeader)-6) + `",` + goodHeader[1:], `{}`, false},
		"kid of 128":          {`{"typ":"JWT","alg":"RS256","kid":"` + strings.Repeat("k", 128) + `"}`, `{}`, true},
		"kid of 129":          {`{"typ":"JWT","alg":"RS256","kid":"` + strings.Repeat("k", 129) + `"}`, `{}`, false},
		"no typ":              {`{"alg":"RS256","kid":"k"}`, `{}`, false},
		"other algorithm":     {`{"typ":"JWT","alg":"RS512","kid":"k"}`, `{}`, false},
		"year 9999":           {goodHeader, `{"exp":253402300799}`, true},
		"year 10000":          {goodHeader, `{"exp":253402300800}`, false},
		"fraction":            {goodHeader, `{"exp":1700000000.5}`, false},
		"exponent":            {goodHeader, `{"exp":17e8}`, false},
		"zero":                {goodHeader, `{"iat":0}`, false},
		"minus zero":          {goodHeader, `{"iat":-0}`, false},
	} {
		_, bad := parse(compactOf(tc.header, tc.claims), "RS256")
		assert.Equal(t, tc.ok, bad == nil, "%s: %v", name, bad)
	}
}

// Members that could change what a token means are refused whatever they hold,
// also where the signature is genuine.
func TestHeaderMembersThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "enc"} {
		for _, value := range []string{`"x"`, `null`, `[]`, `{}`, `true`, `1`} {
			_, bad := parse(compactOf(`{"typ":"JWT","alg":"RS256","kid":"k1","`+name+`":`+value+`}`, `{}`), "RS256")
			require.NotNil(t, bad, name)
			assert.Equal(t, name, bad.field)
		}
	}
	_, bad := parse(compactOf(`{"typ":"JWT","alg":"RS256","kid":"k1","x5t":"x","x5t#S256":"x","cty":"x","ALGO":1}`, `{}`), "RS256")
	assert.Nil(t, bad, "others are ignored")
}

// A refusal names the member and says why.
func TestMalformedNamesTheMember(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		header, claims, field string
		is                    *malformed // nil: only the field counts
	}{
		{goodHeader, `{"exp":"1"}`, "exp", nil},
		{goodHeader, `{"aud":1}`, "aud", nil},
		{goodHeader, `{"roles":[1]}`, "roles", nil},
		{goodHeader, `{"ROLES":[]}`, "claims", &malformed{"claims", "without names that differ from known ones by case, or are not ASCII"}},
		{goodHeader, `{"a":1,"a":2}`, "claims", errClaimsJSON},
		{goodHeader, `{"a":1`, "claims", errClaimsJSON},
		{goodHeader, `{"a":1,`, "claims", errClaimsJSON},
		{goodHeader, `{"aud":[`, "claims", errClaimsJSON},
		{goodHeader, `{}{}`, "claims", errClaimsJSON},
		{goodHeader, `[]`, "claims", errClaimsJSON},
		{`{"typ":1}`, `{}`, "typ", nil},
		{`{"alg":"RS256","alg":"none"}`, `{}`, "header", errHeaderJSON},
		{`{"KID":"k1"}`, `{}`, "header", errHeaderJSON},
		{`{"typ":"JWT","kid":"k1"}`, `{}`, "alg", nil},
		{`{"typ":"JWT","alg":"RS256"}`, `{}`, "kid", nil},
		{`{"typ":"x","alg":"RS256","kid":"k1"}`, `{}`, "typ", nil},
		{`{"typ":"JWT","alg":"PS256","kid":"k1"}`, `{}`, "alg", errAlgorithm},
	} {
		_, bad := parse(compactOf(tc.header, tc.claims), "RS256")
		require.NotNil(t, bad, tc)
		if tc.is != nil {
			assert.Equal(t, tc.is, bad, tc)
		} else {
			assert.Equal(t, tc.field, bad.field, tc)
		}
	}
}

// A key ID goes into logs and errors, and some services make file names or
// queries of it.
func TestKeyIDCharacters(t *testing.T) {
	t.Parallel()
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.=+:~"
	for c := range 256 {
		kid := "k" + string([]byte{byte(c)}) + "1"
		assert.Equal(t, strings.IndexByte(allowed, byte(c)) >= 0, validKeyID(kid), "%q", kid)
	}
}

// Names that a parser which folds case, or strips what cannot be seen, takes
// for one of ours.
func TestLookalike(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"aud": false, "x_custom": false, "": false, " ": false, "audience": false, "Custom": false, "AUDX": false, "~": false, "azpACR": false,
		"Aud": true, "aUd": true, "auD": true, "AUD": true, "Azp": true, "aZp": true, "NONCE": true, "ROLES": true,
		"aud\x00": true, "aud\x1f": true, "\u0430ud": true, "\x80": true, "role\u017f": true, "\ufeffaud": true, "aud\u200b": true,
	} {
		assert.Equal(t, want, lookalike(name, claimNames), "%q", name)
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]*malformed{
		"a.b.c": nil, "": errParts, "a": errParts, "a.b": errParts, "a.b.c.d": errParts, ".b.c": errParts, "a..c": errParts, "a.b.": errParts, "...": errParts, "a.b..c": errParts,
		"a.b." + strings.Repeat("c", 1366): nil, "a.b." + strings.Repeat("c", 1367): errSignature,
		"a.b." + strings.Repeat("c", defaultTokenSize-4): errSignature, "a.b." + strings.Repeat("c", defaultTokenSize-3): errSize,
		strings.Repeat("a", 2734) + ".b.c": errHeaderSize, "a." + strings.Repeat("b", (defaultTokenSize/2*4+2)/3+2) + ".c": errClaimsSize,
	} {
		_, bad := split(raw, defaultTokenSize)
		assert.Equal(t, want, bad, raw[:min(len(raw), 20)])
	}
}

func TestDecode64(t *testing.T) {
	t.Parallel()
	for part, ok := range map[string]bool{
		"": true, "AA": true, "AAA": true, "AAAA": true, "A": false, "AB": false, "AA==": false, "A+AA": false, "A AA": false,
		"AAAA\n": false, "\rAAAA": false, "AA\nAA": false, "AA\r\n": false, "AAA\n": false, "AA\n": false, "\n": false,
	} {
		_, bad := new(decoder).decode64(nil, part)
		assert.Equal(t, ok, bad == nil, "%q", part)
	}
}

// What the decoder accepts, jwt/v5 and encoding/json read the same.
func FuzzParse(f *testing.F) {
	for _, claims := range []string{
		`{}`, `{"iss":"i","aud":"a","exp":2000000000}`, `{"aud":["a","b"],"roles":["r"],"nbf":1,"iat":2}`, `{"roles":"r"}`, `{"ROLES":["r"]}`,
		`{"exp":1e300}`, `{"exp":"1"}`, `{"a":1,"a":2}`, "{\"\xff\":1}", `{"\u0061ud":"x"}`, `{"aud":"\ud800"}`, `{"x":[[[[[[[[[]]]]]]]]]}`, `{"x":{"y":{"y":1}}}`,
		`[]`, `null`, "\xef\xbb\xbf{}", `{}{}`, `{"tid":"\u0000\n"}`, `{"scp":null,"nonce":1}`, `{"roles":[]}`, `{"iat":0}`, `{"aud":[]}`, `{"iss":"\/"}`,
	} {
		f.Add(goodHeader, claims)
	}
	for _, header := range []string{`{"alg":"none"}`, `{"typ":"JWT","alg":"RS256","kid":"k1","alg":"none"}`, `{"typ":"JWT","alg":"RS256","kid":"k1","crit":[]}`,
		`{"typ":"at+jwt","alg":"RS256","kid":"k\u0031","x5t":"x"}`, `{"TYP":"JWT","typ":"JWT","alg":"RS256","kid":"k1"}`} {
		f.Add(header, `{"iss":"i"}`)
	}
	f.Fuzz(func(t *testing.T, header, claims string) {
		raw := compactOf(header, claims)
		tok, bad := parse(raw, "RS256")
		if bad != nil {
			return
		}
		var h, c map[string]any
		require.NoError(t, json.Unmarshal([]byte(header), &h))
		require.NoError(t, json.Unmarshal([]byte(claims), &c))
		assert.Equal(t, []any{h["alg"], h["kid"]}, []any{tok.alg, tok.kid})
		assert.Contains(t, []any{"JWT", "at+jwt"}, h["typ"])
		for _, name := range []string{"crit", "b64", "jku", "jwk", "x5u", "x5c"} {
			assert.NotContains(t, h, name)
		}
		sameClaims(t, tok, c)

		other := jwt.MapClaims{}
		_, _, err := jwt.NewParser().ParseUnverified(raw, other)
		require.NoError(t, err)
		for _, get := range []func(jwt.Claims) (*jwt.NumericDate, error){jwt.Claims.GetExpirationTime, jwt.Claims.GetNotBefore, jwt.Claims.GetIssuedAt} {
			theirs, err := get(other)
			require.NoError(t, err)
			mine, _ := get(tok)
			assert.Equal(t, theirs == nil, mine == nil)
			assert.True(t, theirs == nil || theirs.Equal(mine.Time), "%v %v", theirs, mine)
		}
		aud, err := other.GetAudience()
		require.NoError(t, err)
		assert.ElementsMatch(t, []string(aud), tok.aud)
		iss, err := other.GetIssuer()
		require.NoError(t, err)
		assert.Equal(t, iss, tok.iss)
	})
}

func sameClaims(t *testing.T, tok *token, c map[string]any) {
	t.Helper()
	for name, is := range map[string]struct {
		has   claimSet
		value any
	}{
		"iss": {hasIss, tok.iss}, "tid": {hasTid, tok.tid}, "ver": {hasVer, tok.ver}, "azp": {hasAzp, tok.azp}, "appid": {hasAppid, tok.appid},
		"oid": {hasOid, tok.oid}, "sub": {hasSub, tok.sub}, "idtyp": {hasIdtyp, tok.idtyp}, "uti": {hasUti, tok.uti},
		"exp": {hasExp, float64(tok.exp.Unix())}, "nbf": {hasNbf, float64(tok.nbf.Unix())}, "iat": {hasIat, float64(tok.iat.Unix())},
	} {
		want, ok := c[name]
		assert.Equal(t, ok, tok.has(is.has), name)
		if ok {
			assert.Equal(t, want, is.value, name)
		}
	}
	_, scp := c["scp"]
	_, nonce := c["nonce"]
	assert.Equal(t, []bool{scp, nonce}, []bool{tok.has(hasScp), tok.has(hasNonce)})
	var roles []any
	for _, r := range tok.roles {
		roles = append(roles, r)
	}
	if want, _ := c["roles"].([]any); len(want) > 0 {
		assert.True(t, reflect.DeepEqual(want, roles), "%v %v", want, roles)
	} else {
		assert.Empty(t, roles)
	}
}
