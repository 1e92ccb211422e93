package gatetest

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
)

// forged is a token before it is encoded: its parts as JSON text.
type forged struct {
	header, payload []byte
	key             *rsa.PrivateKey
}

// forge takes a genuine token apart.
func (a *attacker) forge() forged {
	parts := strings.Split(a.token(nil, nil), ".")
	_, key := a.Tenant.SigningKey()
	return forged{decode(parts[0]), decode(parts[1]), key}
}

func decode(part string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		panic(err) // the tenant's own token
	}
	return b
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// signed is the part of the token that is signed.
func (f forged) signed() string { return encode(f.header) + "." + encode(f.payload) }

// sign returns the token with a valid RS256 signature.
func (f forged) sign() string { return f.signed() + "." + signature(f.key, f.signed()) }

func signature(key *rsa.PrivateKey, signed string) string {
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err) // the key and the hash are valid
	}
	return encode(sig)
}

// forging attacks with a genuine token whose parts are changed before they are
// signed.
func forging(change func(*forged)) func(*attacker) error {
	return func(a *attacker) error {
		f := a.forge()
		change(&f)
		return a.bearer(f.sign())
	}
}

// attacksOnForm are rows 1 to 20: malformed tokens and wrong signatures.
func attacksOnForm(t *Target) []Attack {
	all := []Attack{
		invalidToken(1, "alg none", both(unsigned("none"), unsigned("nOnE"), unsigned("NONE"), heading(map[string]any{"alg": "none"}))),
		invalidToken(1, "empty signature", unsigned("RS256")),
		invalidToken(2, "HS256 keyed with the public key", both(hmacWith(publicPEM), hmacWith(publicDER), hmacWith(publicJWK))),
		invalidToken(3, "alg of another form", both(
			heading(map[string]any{"alg": "rs256"}), heading(map[string]any{"alg": []string{"RS256"}}),
			heading(map[string]any{"alg": nil}), heading(map[string]any{"alg": json.RawMessage("null")}), heading(map[string]any{"alg": ""}))),
		invalidToken(3, "alg that is not configured", both(rs384, ps256)),
		invalidToken(4, "duplicate alg", both(
			forging(func(f *forged) { f.header = edit(f.header, `"alg":"RS256"`, `"alg":"none","alg":"RS256"`) }),
			forging(func(f *forged) { f.header = edit(f.header, `"alg":"RS256"`, `"alg":"RS256","alg":"none"`) }),
			forging(func(f *forged) { f.header = edit(f.header, `"alg":"RS256"`, `"alg":"RS256","alg":"RS256"`) }),
			forging(func(f *forged) { f.header = edit(f.header, `"alg":"RS256"`, `"alg":"RS256","\u0061lg":"RS256"`) }))),
		invalidToken(5, "kid missing", both(heading(map[string]any{"kid": nil}), heading(map[string]any{"kid": ""}))),
		invalidToken(6, "kid of another type", both(heading(map[string]any{"kid": 1}), heading(map[string]any{"kid": json.RawMessage("null")}))),
		invalidToken(7, "kid as an injection", both(
			heading(map[string]any{"kid": "../../../../dev/null"}), heading(map[string]any{"kid": "x' OR '1'='1"}),
			heading(map[string]any{"kid": "x\r\n" + injected}), heading(map[string]any{"kid": "x\x00"}))),
		invalidToken(7, "kid of 1 MB", heading(map[string]any{"kid": strings.Repeat("k", 1<<20)})),
		invalidToken(8, "jku and x5u", both(remoteKey("jku", false), remoteKey("x5u", false), remoteKey("jku", true), remoteKey("x5u", true))),
		invalidToken(9, "embedded key", both(embeddedJWK, embeddedX5C)),
		invalidToken(10, "crit and b64", both(
			heading(map[string]any{"crit": []string{"http://example.com/x"}, "http://example.com/x": true}), heading(map[string]any{"crit": []string{}}),
			heading(map[string]any{"crit": []string{"b64"}, "b64": false}), heading(map[string]any{"b64": false}),
			heading(map[string]any{"crit": []string{"exp"}, "exp": 1}))),
		invalidToken(11, "typ of another kind", both(
			heading(map[string]any{"typ": "JWE"}), heading(map[string]any{"typ": "logout+jwt"}), heading(map[string]any{"typ": "dpop+jwt"}),
			heading(map[string]any{"typ": 1}), heading(map[string]any{"typ": json.RawMessage("null")}))),
		invalidToken(12, "duplicate claim", both(
			forging(func(f *forged) { f.payload = edit(f.payload, `"tid":`, `"tid":"x","tid":`) }),
			forging(func(f *forged) { f.payload = edit(f.payload, `{`, `{"roles":[],`) }),
			forging(func(f *forged) { f.payload = edit(f.payload, `{`, `{"\u0065xp":99999999999,`) }))),
		invalidToken(13, "names in another case or script", both(renamed("roles", "ROLES"), renamed("roles", "role\u017f"), renamed("roles", "r\u043eles"), renamed("aud", "Aud"), renamed("exp", "EXP"),
			claiming(map[string]any{"Roles": []string{"x"}}), claiming(map[string]any{"role\u017f": []string{"x"}}),
			heading(map[string]any{"ALG": "none"}), heading(map[string]any{"\u212aid": "x"}))),
		invalidToken(14, "another number of parts", both(
			parts(func(p []string) string { return strings.Join(p, ".") + "." + p[0] + "." + p[1] }), parts(func(p []string) string { return p[0] + "." + p[1] }),
			parts(func(p []string) string { return strings.Join(p, ".") + "." + p[2] }), parts(func(p []string) string { return p[1] }), parts(func(p []string) string { return ".." }),
			parts(func(p []string) string { return p[0] + ".." + p[2] }))),
		invalidToken(14, "JSON serialisation", parts(func(p []string) string {
			return `{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"}`
		})),
		invalidToken(15, "too large", both(
			claiming(map[string]any{"x": strings.Repeat("x", 16<<10)}), parts(func(p []string) string { return strings.Repeat(".", 1_000_000) }),
			deep(10_001), deep(1000))),
		invalidToken(16, "tab or dot around the token", both(
			parts(func(p []string) string { return "\t" + strings.Join(p, ".") }), parts(func(p []string) string { return strings.Join(p, ".") + "." }),
			parts(func(p []string) string { return "." + strings.Join(p, ".") }))),
		invalidToken(18, "base64 that is not canonical", both(looseBits, padded, standardAlphabet)),
		invalidToken(19, "payload that is no object", both(
			payload(`[]`), payload(`null`), payload(`"x"`), payload(`1`), payload(``), payload(`{`),
			forging(func(f *forged) { f.payload = append([]byte("\xef\xbb\xbf"), f.payload...) }),
			forging(func(f *forged) { f.payload = append(f.payload, `{}`...) }),
			forging(func(f *forged) { f.header = append(f.header, `{"alg":"none"}`...) }))),
		invalidToken(20, "invalid UTF-8", both(
			forging(func(f *forged) { f.payload = edit(f.payload, `{`, "{\"x\":\"\xff\",") }),
			forging(func(f *forged) { f.payload = edit(f.payload, `{`, "{\"x\xc0\xaf\":1,") }),
			forging(func(f *forged) { f.payload = edit(f.payload, `{`, `{"x":"\ud800",`) }),
			forging(func(f *forged) { f.header = edit(f.header, `{`, "{\"x\":\"\xff\",") }))),
	}
	if t.Handler != nil { // net/http's client and server refuse these headers
		all = append(all,
			invalidToken(16, "space or NUL around the token, in process", both(
				parts(func(p []string) string { return strings.Join(p, ".") + " " }), parts(func(p []string) string { return strings.Join(p, ".") + "\x00" }),
				parts(func(p []string) string { return "\t" + strings.Join(p, ".") }))),
			invalidToken(17, "newline in a part", both(newline(0), newline(1), newline(2))))
	}
	return all
}

// unsigned attacks without a signature.
func unsigned(alg string) func(*attacker) error {
	return func(a *attacker) error {
		f := a.forge()
		if alg != "RS256" {
			f.header = edit(f.header, `"alg":"RS256"`, `"alg":"`+alg+`"`)
		}
		return a.bearer(f.signed() + ".")
	}
}

// hmacWith attacks with an HMAC whose secret is the public key, which everybody has.
func hmacWith(secret func(*rsa.PublicKey) []byte) func(*attacker) error {
	return func(a *attacker) error {
		f := a.forge()
		f.header = edit(f.header, `"alg":"RS256"`, `"alg":"HS256"`)
		mac := hmac.New(sha256.New, secret(&f.key.PublicKey))
		mac.Write([]byte(f.signed()))
		return a.bearer(f.signed() + "." + encode(mac.Sum(nil)))
	}
}

func publicDER(k *rsa.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		panic(err) // an RSA key can be marshalled
	}
	return der
}

func publicPEM(k *rsa.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER(k)})
}

func publicJWK(k *rsa.PublicKey) []byte {
	return []byte(`{"kty":"RSA","n":"` + encode(k.N.Bytes()) + `","e":"AQAB"}`)
}

func rs384(a *attacker) error {
	f := a.forge()
	f.header = edit(f.header, `"alg":"RS256"`, `"alg":"RS384"`)
	sum := sha512.Sum384([]byte(f.signed()))
	sig, err := rsa.SignPKCS1v15(rand.Reader, f.key, crypto.SHA384, sum[:])
	if err != nil {
		return err
	}
	return a.bearer(f.signed() + "." + encode(sig))
}

func ps256(a *attacker) error {
	f := a.forge()
	f.header = edit(f.header, `"alg":"RS256"`, `"alg":"PS256"`)
	sum := sha256.Sum256([]byte(f.signed()))
	sig, err := rsa.SignPSS(rand.Reader, f.key, crypto.SHA256, sum[:], nil)
	if err != nil {
		return err
	}
	return a.bearer(f.signed() + "." + encode(sig))
}

// remoteKey attacks with a token whose header names a URL for its key. It fails if the
// service fetches the URL. If genuine is set, the tenant's own key signed the token.
func remoteKey(member string, genuine bool) func(*attacker) error {
	return func(a *attacker) error {
		var fetched atomic.Bool
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fetched.Store(true)
			_, _ = w.Write([]byte(`{"keys":[` + string(publicJWK(&ownKey(0).PublicKey)) + `]}`))
		}))
		defer srv.Close()
		f := a.forge()
		f.header = edit(f.header, `{`, `{"`+member+`":"`+srv.URL+`/keys",`)
		if !genuine {
			f.key = ownKey(0)
		}
		err := a.bearer(f.sign())
		if fetched.Load() {
			return fmt.Errorf("the service fetched what %s names", member)
		}
		return err
	}
}

func embeddedJWK(a *attacker) error {
	f := a.forge()
	f.key = ownKey(0)
	f.header = edit(f.header, `{`, `{"jwk":`+string(publicJWK(&f.key.PublicKey))+`,`)
	return a.bearer(f.sign())
}

func embeddedX5C(a *attacker) error {
	f := a.forge()
	f.key = ownKey(0)
	f.header = edit(f.header, `{`, `{"x5c":["`+base64.StdEncoding.EncodeToString(certificate(f.key))+`"],`)
	return a.bearer(f.sign())
}

// renamed attacks with a claim under a name that only a lax parser accepts.
func renamed(name, as string) func(*attacker) error {
	return forging(func(f *forged) { f.payload = edit(f.payload, `"`+name+`":`, `"`+as+`":`) })
}

// deep attacks with JSON of many levels.
func deep(levels int) func(*attacker) error {
	nested := strings.Repeat("[", levels) + strings.Repeat("]", levels)
	return forging(func(f *forged) { f.payload = edit(f.payload, `{`, `{"x":`+nested+`,`) })
}

// parts attacks with the parts of a genuine token, joined in another way.
func parts(join func([]string) string) func(*attacker) error {
	return func(a *attacker) error { return a.bearer(join(strings.Split(a.token(nil, nil), "."))) }
}

func payload(text string) func(*attacker) error {
	return forging(func(f *forged) { f.payload = []byte(text) })
}

// newline attacks with a line end in a part. The signature covers the line end.
func newline(part int) func(*attacker) error {
	return func(a *attacker) error {
		f := a.forge()
		p := strings.Split(f.sign(), ".")
		p[part] = p[part][:10] + "\n" + p[part][10:]
		if part < 2 {
			p[2] = signature(f.key, p[0]+"."+p[1])
		}
		return a.bearer(strings.Join(p, "."))
	}
}

// looseBits changes the unused bits of the last base64 character.
func looseBits(a *attacker) error {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	token := a.token(nil, nil)
	last := strings.IndexByte(alphabet, token[len(token)-1])
	return a.bearer(token[:len(token)-1] + string(alphabet[last^1]))
}

func padded(a *attacker) error {
	token := a.token(nil, nil)
	return a.bearer(token + strings.Repeat("=", (4-len(token[strings.LastIndexByte(token, '.')+1:])%4)%4))
}

// standardAlphabet writes the signature with + and / for - and _.
func standardAlphabet(a *attacker) error {
	for n := 0; ; n++ {
		token := a.token(map[string]any{"n": n}, nil) // another signature each time
		dot := strings.LastIndexByte(token, '.')
		if sig := strings.NewReplacer("-", "+", "_", "/").Replace(token[dot:]); sig != token[dot:] {
			return a.bearer(token[:dot] + sig)
		}
	}
}
