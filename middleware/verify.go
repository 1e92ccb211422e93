package middleware

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/entragate/entragate/internal/cloud"
)

// tenant is one whose tokens are accepted, with its issuers and keys.
type tenant struct {
	id                 string
	issuerV1, issuerV2 string // V1 is empty where version 1 tokens are refused
	keys               *keySource
}

// issuer is what an iss claim stands for.
type issuer struct {
	tenant *tenant
	ver    string
}

// verifier checks tokens, whatever the route.
type verifier struct {
	tenants    []*tenant
	issuers    map[string]issuer
	issuerList string // for people
	algorithms []string
	appOnly    AppOnly
	leeway     time.Duration
	lifetime   time.Duration
	times      *jwt.Validator
	cache      *cache
	header     atomic.Pointer[knownHeader]
}

func newVerifier(c *Config, hosts cloud.Hosts) *verifier {
	v := &verifier{
		issuers: map[string]issuer{}, algorithms: c.Algorithms, appOnly: c.AppOnly,
		leeway: c.Leeway, lifetime: c.MaxLifetime, cache: newCache(c.CacheSize),
		times: jwt.NewValidator(jwt.WithLeeway(c.Leeway), jwt.WithTimeFunc(c.Now),
			jwt.WithExpirationRequired(), jwt.WithIssuedAt()),
	}
	var list []string
	for _, id := range c.Tenants {
		tn := &tenant{id: id, issuerV2: hosts.IssuerV2(id), keys: newKeySource(hosts.KeysURL(id), c)}
		v.issuers[tn.issuerV2] = issuer{tn, "2.0"}
		list = append(list, tn.issuerV2)
		if hosts.STS != "" {
			tn.issuerV1 = hosts.IssuerV1(id)
			v.issuers[tn.issuerV1] = issuer{tn, "1.0"}
			list = append(list, tn.issuerV1)
		}
		v.tenants = append(v.tenants, tn)
	}
	v.issuerList = strings.Join(list, " or ")
	return v
}

// verified is the outcome of a check. Where that is a failure the token, if it
// could be decoded, is there too, unverified: of a 503 its claims say whether
// the answer that could not be had would have mattered, of others whom to ask.
type verified struct {
	token  *token
	tenant *tenant
	cached bool
}

// check verifies a token but for what depends on the route. What costs little
// comes first; the signature is last but for what is only told to those who
// have a genuine token (403).
func (v *verifier) check(ctx context.Context, raw string, p *policy, now time.Time) (verified, failure) {
	parts, bad := split(raw)
	if bad != nil {
		return verified{}, unauthorized(JwtInvalid, bad.field, "", bad.rule)
	}
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	var sum [sha256.Size]byte
	if v.cache != nil {
		sum = d.hash(parts.signature)
		if e := v.seen(&sum, parts.signed, now); e != nil {
			return verified{e.token, e.tenant, true}, failure{}
		}
	}
	t, bad := d.decode(&parts, v.algorithms, v.header.Load())
	if bad != nil {
		return verified{}, unauthorized(JwtInvalid, bad.field, "", bad.rule)
	}
	tn, f := v.claims(t, p, now)
	if !f.ok() {
		return verified{token: t}, f
	}
	person := v.application(t)
	key, f := v.signature(ctx, t, tn, parts.signed, d.signature)
	if f.status == http.StatusServiceUnavailable && !person.ok() {
		return verified{token: t}, person
	}
	if !f.ok() {
		return verified{token: t, tenant: tn}, f
	}
	v.learn(t, parts.header)
	if !person.ok() {
		return verified{token: t, tenant: tn}, person
	}
	if v.cache != nil {
		until := t.exp.Add(v.leeway).Unix()
		v.cache.put(&checked{sum: sum, signed: strings.Clone(parts.signed), token: t, tenant: tn, key: key, until: until}, now)
	}
	return verified{token: t, tenant: tn}, failure{}
}

// seen finds a token that was checked before, and whose key still stands.
func (v *verifier) seen(sum *[sha256.Size]byte, signed string, now time.Time) *checked {
	e := v.cache.get(sum, signed, now)
	if e != nil && !e.tenant.keys.holds(e.token.kid, e.key) {
		v.cache.drop(e)
		return nil
	}
	return e
}

// learn remembers the header of a genuine token.
func (v *verifier) learn(t *token, header string) {
	if known := v.header.Load(); known == nil || known.raw != header {
		v.header.Store(&knownHeader{strings.Clone(header), strings.Clone(t.alg), strings.Clone(t.kid)})
	}
}

// claims checks what is in a token without a key: issuer, tenant, version,
// time and that its audience is one of the gate's.
func (v *verifier) claims(t *token, p *policy, now time.Time) (*tenant, failure) {
	iss, ok := v.issuers[t.iss]
	if !ok {
		if !t.has(hasIss) {
			return nil, missing("iss")
		}
		return nil, unauthorized(TokenIssuerNotAllowed, "iss", clip(t.iss), v.issuerList)
	}
	for _, c := range [...]struct {
		name, got, want string
		has             bool
	}{{"ver", t.ver, iss.ver, t.has(hasVer)}, {"tid", t.tid, iss.tenant.id, t.has(hasTid)}} {
		if !c.has {
			return nil, missing(c.name)
		}
		if c.got != c.want {
			return nil, unauthorized(TokenClaimValueNotAllowed, c.name, clip(c.got), c.want+" as iss says")
		}
	}
	if f := v.validity(t, now); !f.ok() {
		return nil, f
	}
	if f := p.knows(t); !f.ok() {
		return nil, f
	}
	return iss.tenant, form(t)
}

// validity checks exp, nbf and iat, and the lifetime.
func (v *verifier) validity(t *token, now time.Time) failure {
	if err := v.times.Validate(t); err != nil {
		switch {
		case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
			return missing("exp")
		case errors.Is(err, jwt.ErrTokenExpired):
			return unauthorized(TokenExpired, "exp", second(t.exp.Time), "after "+second(now))
		case errors.Is(err, jwt.ErrTokenNotValidYet):
			return unauthorized(TokenNotYetValid, "nbf", second(t.nbf.Time), "not after "+second(now))
		}
		return unauthorized(TokenNotYetValid, "iat", second(t.iat.Time), "not after "+second(now))
	}
	from := t.iat.Time
	if from.IsZero() {
		from = now.Add(-v.leeway)
	}
	if t.exp.After(from.Add(v.lifetime)) {
		return unauthorized(TokenClaimValueNotAllowed, "exp", second(t.exp.Time), "at most "+v.lifetime.String()+" after iat")
	}
	return failure{}
}

// knows refuses tokens of which not all audiences are some product's.
func (p *policy) knows(t *token) failure {
	if !t.has(hasAud) || len(t.aud) == 0 {
		return missing("aud")
	}
	for _, aud := range t.aud {
		if p.audiences[aud] == nil {
			return unauthorized(TokenAudienceNotAllowed, "aud", clip(aud), p.audList)
		}
	}
	return failure{}
}

// form refuses what is no access token of an application or user: above all
// ID tokens, which a client must not be able to present as access tokens.
func form(t *token) failure {
	switch {
	case t.has(hasNonce):
		return unauthorized(TokenClaimValueNotAllowed, "nonce", "present", "none (an ID token is no access token)")
	case t.client() == "":
		return missing("azp or appid")
	case t.azp != "" && t.appid != "" && t.azp != t.appid:
		return unauthorized(TokenClaimValueNotAllowed, "azp", clip(t.azp), "the same as appid")
	}
	for _, r := range t.roles {
		if r == "" || strings.ContainsAny(r, " \t\r\n") {
			return unauthorized(JwtInvalid, "roles", clip(r), "values without a space")
		}
	}
	return failure{}
}

// application refuses tokens of users.
func (v *verifier) application(t *token) failure {
	switch {
	case t.has(hasScp):
		return forbidden(TokenOfUser, "scp", "present", "none (an application's token)")
	case t.has(hasIdtyp) && t.idtyp != "app":
		return forbidden(TokenOfUser, "idtyp", clip(t.idtyp), "app")
	case !t.has(hasIdtyp) && v.appOnly == AppOnlyStrict:
		return forbidden(TokenOfUser, "idtyp", absent, "app (an optional claim that the product's application must ask for)")
	}
	return failure{}
}

func (v *verifier) signature(ctx context.Context, t *token, tn *tenant, signed string, signature []byte) (*signingKey, failure) {
	set, key, err := tn.keys.find(ctx, t.kid)
	switch {
	case errors.Is(err, errKeyUnknown):
		return nil, unauthorized(TokenSignatureKeyNotFound, "kid", t.kid, "a key that the tenant publishes")
	case err != nil:
		return nil, unavailable(KeysUnavailable, "keys of "+tn.id, tn.keys.cause())
	case !key.mayVerify(tn):
		return nil, unauthorized(TokenSignatureKeyNotFound, "issuer of the key", clip(key.issuer), tn.issuerV2)
	}
	if err := set.verify(t, signed, signature); err != nil {
		return nil, unauthorized(TokenSignatureInvalid, "signature", "", "one by the key that kid names")
	}
	return key, failure{}
}

func missing(claim string) failure {
	return unauthorized(TokenClaimNotFound, claim, absent, "")
}

// clip bounds what goes into a record.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

func second(t time.Time) string { return t.UTC().Format(time.RFC3339) }
