package middleware

import (
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// signingMethods are the algorithms that Config.Algorithms may name. All are
// asymmetric, so that a public key is never used as a shared secret.
var signingMethods = map[string]jwt.SigningMethod{
	"RS256": jwt.SigningMethodRS256, "RS384": jwt.SigningMethodRS384, "RS512": jwt.SigningMethodRS512,
	"PS256": exactSalt(jwt.SigningMethodPS256), "PS384": exactSalt(jwt.SigningMethodPS384), "PS512": exactSalt(jwt.SigningMethodPS512),
}

// exactSalt is a method whose signatures have a salt as long as their hash
// (RFC 7518, 3.5). jwt accepts every length.
func exactSalt(m *jwt.SigningMethodRSAPSS) jwt.SigningMethod {
	salt := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	return &jwt.SigningMethodRSAPSS{SigningMethodRSA: m.SigningMethodRSA, Options: salt, VerifyOptions: salt}
}

// token is a decoded access token, verified or not. Its strings are substrings of the
// decoded claims; it does not hold the signature. It is not changed after decoding.
type token struct {
	alg, kid                  string
	iss, tid, ver, azp, appid string
	oid, sub, idtyp, uti, scp string
	aud, roles                []string
	extra                     map[string][]string // claims that products require, by name
	json                      string              // the claims
	exp, nbf, iat             jwt.NumericDate     // zero if missing
	present                   claimSet
}

// claimSet is the set of claims that a token has.
type claimSet uint32

const (
	hasIss claimSet = 1 << iota
	hasTid
	hasVer
	hasAzp
	hasAppid
	hasOid
	hasSub
	hasIdtyp
	hasUti
	hasAud
	hasRoles
	hasExp
	hasNbf
	hasIat
	hasScp
	hasNonce
)

func (t *token) has(c claimSet) bool { return t.present&c != 0 }

// client is the client ID of the application that asked for the token.
func (t *token) client() string {
	if t.azp != "" {
		return t.azp
	}
	return t.appid
}

// malformed is an error of decoding. It says what a field must be. Its text holds
// member names, but no other part of the token.
type malformed struct{ field, rule string }

func (e *malformed) Error() string { return e.field + " must be " + e.rule }

var (
	errSize       = &malformed{"token", "at most MaxTokenSize"}
	errParts      = &malformed{"token", "three parts of base64url (a signed JWT, compact)"}
	errEncoding   = &malformed{"token", "canonical base64url without padding"}
	errAlgorithm  = &malformed{"alg", "one of the configured algorithms"}
	errSignature  = &malformed{"signature", "at most 1 KiB"}
	errHeaderSize = &malformed{"header", "at most 2 KiB"}
	errClaimsSize = &malformed{"claims", "at most half of MaxTokenSize and 8 levels"}
	errHeaderJSON = &malformed{"header", "one JSON object of at most 100 members, UTF-8, no name twice"}
	errClaimsJSON = &malformed{"claims", "one JSON object of at most 100 members and an array element for each 48 bytes of MaxTokenSize, UTF-8 with at most an eighth of MaxTokenSize not ASCII, no name twice"}
)

// compact is the three parts of a token.
type compact struct{ header, claims, signature, signed string }

// split splits a token into its parts and checks their sizes.
func split(raw string, size int) (compact, *malformed) {
	if len(raw) > size {
		return compact{}, errSize
	}
	header, rest, _ := strings.Cut(raw, ".")
	claims, signature, _ := strings.Cut(rest, ".")
	if header == "" || claims == "" || signature == "" || strings.IndexByte(signature, '.') >= 0 {
		return compact{}, errParts
	}
	c := compact{header, claims, signature, raw[:len(header)+1+len(claims)]}
	if base64.RawURLEncoding.DecodedLen(len(c.header)) > maxHeader {
		return compact{}, errHeaderSize
	}
	if base64.RawURLEncoding.DecodedLen(len(c.claims)) > size/2 {
		return compact{}, errClaimsSize
	}
	if base64.RawURLEncoding.DecodedLen(len(c.signature)) > maxSignature {
		return compact{}, errSignature
	}
	return c, nil
}

// knownHeader is the header of a verified token. Entra's tokens with the same key have
// the same header, so that it need not be decoded each time.
type knownHeader struct{ raw, alg, kid string }

// decode decodes the parts strictly, before any cryptography: exact names and types, no
// duplicates, limited size, number and depth. It checks the header, but no claim's
// value. It leaves the signature in d.signature. known may be nil.
func (d *decoder) decode(c *compact, algorithms []string, known *knownHeader) (*token, *malformed) {
	t := &token{}
	if known != nil && known.raw == c.header {
		t.alg, t.kid = known.alg, known.kid
	} else if err := d.header(c.header, t); err != nil {
		return nil, err
	}
	if !slices.Contains(algorithms, t.alg) {
		return nil, errAlgorithm
	}
	if err := d.claims(c.claims, t); err != nil {
		return nil, err
	}
	var bad *malformed
	if d.signature, bad = d.decode64(d.signature, c.signature); bad != nil {
		return nil, bad
	}
	return t, nil
}

// header decodes the JOSE header (RFC 7515, 4.1). It refuses members that change how a
// token is read or where its key comes from, and ignores others, such as x5t.
func (d *decoder) header(part string, t *token) *malformed {
	if err := d.open(part, errHeaderJSON); err != nil {
		return err
	}
	typ := ""
	for {
		name, more, err := d.next()
		if err != nil {
			return errHeaderJSON
		}
		if !more {
			break
		}
		switch name {
		case "alg":
			t.alg, err = d.str()
		case "kid":
			t.kid, err = d.str()
		case "typ":
			typ, err = d.str()
		case "crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "enc":
			return &malformed{name, "missing from the header"}
		default:
			if lookalike(name, headerNames) {
				return errHeaderJSON
			}
			err = d.skip()
		}
		if err != nil {
			return badMember(name, err, errHeaderJSON)
		}
	}
	switch {
	case typ != "JWT" && typ != "at+jwt":
		return &malformed{"typ", "JWT or at+jwt"}
	case t.alg == "":
		return &malformed{"alg", "in the header"}
	case !validKeyID(t.kid):
		return &malformed{"kid", "1 to 128 letters, digits and -_.=+:~"}
	}
	return nil
}

// claims decodes the claims that a gate checks. It ignores other claims.
func (d *decoder) claims(part string, t *token) *malformed {
	if err := d.open(part, errClaimsJSON); err != nil {
		return err
	}
	t.json = d.text
	for {
		name, more, err := d.next()
		if err != nil {
			return badMember("", err, errClaimsJSON)
		}
		if !more {
			return nil
		}
		if err := d.claim(name, t); err != nil {
			return badMember(name, err, errClaimsJSON)
		}
	}
}

func (d *decoder) claim(name string, t *token) (err error) {
	var has claimSet
	switch name {
	case "iss":
		t.iss, err = d.str()
		has = hasIss
	case "tid":
		t.tid, err = d.str()
		has = hasTid
	case "ver":
		t.ver, err = d.str()
		has = hasVer
	case "azp":
		t.azp, err = d.str()
		has = hasAzp
	case "appid":
		t.appid, err = d.str()
		has = hasAppid
	case "oid":
		t.oid, err = d.str()
		has = hasOid
	case "sub":
		t.sub, err = d.str()
		has = hasSub
	case "idtyp":
		t.idtyp, err = d.str()
		has = hasIdtyp
	case "uti":
		t.uti, err = d.str()
		has = hasUti
	case "aud":
		t.aud, err = d.audience()
		has = hasAud
	case "roles":
		t.roles, err = d.strs()
		has = hasRoles
	case "exp":
		t.exp, err = d.seconds()
		has = hasExp
	case "nbf":
		t.nbf, err = d.seconds()
		has = hasNbf
	case "iat":
		t.iat, err = d.seconds()
		has = hasIat
	case "scp":
		if d.json.PeekKind() == '"' {
			t.scp, err = d.str()
		} else {
			err = d.skip()
		}
		has = hasScp
	case "nonce":
		err = d.skip()
		has = hasNonce
	default:
		if lookalike(name, claimNames) {
			return errLookalike
		}
		if slices.Contains(d.required, name) {
			return d.extra(name, t)
		}
		err = d.skip()
	}
	t.present |= has
	return err
}

// extra reads a claim that a product requires: a string or an array of strings. It
// ignores a value of another type, which matches no requirement.
func (d *decoder) extra(name string, t *token) error {
	var values []string
	var err error
	switch d.json.PeekKind() {
	case '"', '[':
		values, err = d.audience()
	default:
		err = d.skip()
	}
	if err == nil && values != nil {
		if t.extra == nil {
			t.extra = map[string][]string{}
		}
		t.extra[name] = values
	}
	return err
}

// user reports whether a token is a user's: it has the claim scp.
func (t *token) user() bool { return t.has(hasScp) }

// scopes are the delegated permissions of a user's token.
func (t *token) scopes() []string { return strings.Fields(t.scp) }

var errLookalike = errors.New("a name that another parser may take for one of ours")

var (
	headerNames = []string{"alg", "kid", "typ", "crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "enc"}
	claimNames  = []string{"iss", "tid", "ver", "azp", "appid", "oid", "sub", "idtyp", "uti", "aud", "roles", "exp", "nbf", "iat", "scp", "nonce"}
)

// lookalike reports whether a name is not printable ASCII, or differs from one of names
// only by letter case: a parser that ignores case would read it as that name.
func lookalike(name string, names []string) bool {
	upper := false
	for i := 0; i < len(name); i++ {
		if c := name[i]; c >= 0x80 || c < 0x20 {
			return true
		} else if 'A' <= c && c <= 'Z' {
			upper = true
		}
	}
	if !upper {
		return false
	}
	for _, n := range names {
		if len(n) == len(name) && strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

func badMember(name string, err error, syntax *malformed) *malformed {
	switch {
	case errors.Is(err, errDepth):
		return errClaimsSize
	case name != "" && errors.Is(err, errType):
		return &malformed{name, "of its type and in its range"}
	case errors.Is(err, errLookalike):
		return &malformed{"claims", "without names that differ from known ones by case, or are not ASCII"}
	}
	return syntax
}

func validKeyID(kid string) bool {
	if kid == "" || len(kid) > maxKeyID {
		return false
	}
	for i := 0; i < len(kid); i++ {
		switch c := kid[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '_', c == '.', c == '=', c == '+', c == ':', c == '~':
		default:
			return false
		}
	}
	return true
}

// The methods of jwt.Claims, for jwt's validator.

// GetExpirationTime implements [jwt.Claims].
func (t *token) GetExpirationTime() (*jwt.NumericDate, error) { return date(&t.exp), nil }

// GetIssuedAt implements [jwt.Claims].
func (t *token) GetIssuedAt() (*jwt.NumericDate, error) { return date(&t.iat), nil }

// GetNotBefore implements [jwt.Claims].
func (t *token) GetNotBefore() (*jwt.NumericDate, error) { return date(&t.nbf), nil }

// GetIssuer implements [jwt.Claims].
func (t *token) GetIssuer() (string, error) { return t.iss, nil }

// GetSubject implements [jwt.Claims].
func (t *token) GetSubject() (string, error) { return t.sub, nil }

// GetAudience implements [jwt.Claims].
func (t *token) GetAudience() (jwt.ClaimStrings, error) { return t.aud, nil }

func date(d *jwt.NumericDate) *jwt.NumericDate {
	if d.IsZero() {
		return nil
	}
	return d
}
