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
)

// verifier checks tokens independently of the route.
type verifier struct {
	trust      atomic.Pointer[trust]
	algorithms []string
	appOnly    AppOnly
	tokenSize  int      // most bytes of a token
	users      bool     // some product accepts users' tokens
	required   []string // further claims that products require
	leeway     time.Duration
	lifetime   time.Duration
	times      *jwt.Validator
	cache      *cache
	header     atomic.Pointer[knownHeader]
}

func newVerifier(c *Config, tr *trust) *verifier {
	v := &verifier{
		algorithms: c.Algorithms, appOnly: c.AppOnly,
		tokenSize: c.MaxTokenSize, users: c.acceptsUsers(), required: c.requiredClaims(),
		leeway: c.Leeway, lifetime: c.MaxLifetime, cache: newCache(c.CacheSize),
		times: jwt.NewValidator(jwt.WithLeeway(c.Leeway), jwt.WithTimeFunc(c.Now),
			jwt.WithExpirationRequired(), jwt.WithIssuedAt()),
	}
	v.trust.Store(tr)
	return v
}

// verified is the result of a check. If the check fails, token is the decoded token,
// not verified, or nil. For a 503 its claims show whether the token could pass at all;
// for other failures they name the client in records.
type verified struct {
	token  *token
	keys   *keySource
	cached bool
}

// check verifies a token, except for the checks that depend on the route. Cheap checks
// come first. Whether the token is an application's is answered only after the
// signature was verified, because the 403 is for genuine tokens.
func (v *verifier) check(ctx context.Context, raw string, p *policy, now time.Time) (verified, failure) {
	parts, bad := split(raw, v.tokenSize)
	if bad != nil {
		return verified{}, unauthorized(JwtInvalid, bad.field, "", bad.rule)
	}
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	var sum [sha256.Size]byte
	if v.cache != nil {
		sum = d.hash(parts.signature)
		if e := v.seen(&sum, parts.signed, now); e != nil {
			return verified{e.token, e.keys, true}, failure{}
		}
	}
	d.required, d.elements = v.required, v.tokenSize/48
	t, bad := d.decode(&parts, v.algorithms, v.header.Load())
	if bad != nil {
		return verified{}, unauthorized(JwtInvalid, bad.field, "", bad.rule)
	}
	tn, f := v.claims(t, p, now)
	if !f.ok() {
		return verified{token: t}, f
	}
	person := v.application(t)
	keys := tn.source(t.aud)
	key, f := v.signature(ctx, t, tn, keys, parts.signed, d.signature)
	if f.status == http.StatusServiceUnavailable && !person.ok() {
		return verified{token: t}, person
	}
	if !f.ok() {
		return verified{token: t, keys: keys}, f
	}
	v.learn(t, parts.header)
	if !person.ok() {
		return verified{token: t, keys: keys}, person
	}
	if v.cache != nil {
		until := t.exp.Add(v.leeway).Unix()
		v.cache.put(&checked{sum: sum, signed: strings.Clone(parts.signed), token: t, tenant: tn, keys: keys, key: key, until: until}, now)
	}
	return verified{token: t, keys: keys}, failure{}
}

// seen finds a token in the cache whose key and tenant are still trusted.
func (v *verifier) seen(sum *[sha256.Size]byte, signed string, now time.Time) *checked {
	e := v.cache.get(sum, signed, now)
	if e != nil && (e.tenant.removed.Load() || !e.keys.holds(e.token.kid, e.key)) {
		v.cache.drop(e)
		return nil
	}
	return e
}

// keyStillTrusted refuses a verified token whose tenant or key was removed in the
// meantime. If the keys are too old to be used, it does not refuse.
func (v *verifier) keyStillTrusted(t *token) failure {
	tr := v.trust.Load()
	tn := tr.issuers[t.iss].tenant
	if tn == nil {
		return unauthorized(TokenIssuerNotAllowed, "iss", clip(t.iss), tr.list)
	}
	if set := tn.source(t.aud).current(); set != nil && set.keys[t.kid] == nil {
		return unauthorized(TokenSignatureKeyNotFound, "kid", t.kid, "a key that the tenant publishes")
	}
	return failure{}
}

// learn remembers the header of a genuine token.
func (v *verifier) learn(t *token, header string) {
	if known := v.header.Load(); known == nil || known.raw != header {
		v.header.Store(&knownHeader{strings.Clone(header), strings.Clone(t.alg), strings.Clone(t.kid)})
	}
}

// claims checks the claims that need no key: issuer, tenant, version, time, audience and
// form.
func (v *verifier) claims(t *token, p *policy, now time.Time) (*tenant, failure) {
	tr := v.trust.Load()
	iss, ok := tr.issuers[t.iss]
	if !ok {
		if !t.has(hasIss) {
			return nil, claimNotFound("iss")
		}
		return nil, unauthorized(TokenIssuerNotAllowed, "iss", clip(t.iss), tr.list)
	}
	for _, c := range [...]struct {
		name, actual, expected string
		has                    bool
	}{{"ver", t.ver, iss.ver, t.has(hasVer)}, {"tid", t.tid, iss.tenant.id, t.has(hasTid)}} {
		if !c.has {
			return nil, claimNotFound(c.name)
		}
		if c.actual != c.expected {
			return nil, unauthorized(TokenClaimValueNotAllowed, c.name, clip(c.actual), c.expected+" as iss says")
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
			return claimNotFound("exp")
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

// knows refuses a token if one of its audiences belongs to no product.
func (p *policy) knows(t *token) failure {
	if !t.has(hasAud) || len(t.aud) == 0 {
		return claimNotFound("aud")
	}
	for _, aud := range t.aud {
		if p.audiences[aud] == nil {
			return unauthorized(TokenAudienceNotAllowed, "aud", clip(aud), p.audList)
		}
	}
	return failure{}
}

// form refuses tokens that are not access tokens, above all ID tokens.
func form(t *token) failure {
	switch {
	case t.has(hasNonce):
		return unauthorized(TokenClaimValueNotAllowed, "nonce", "present", "none (an ID token is no access token)")
	case t.client() == "":
		return claimNotFound("azp or appid")
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

// application refuses users' tokens. If a product accepts users' tokens, it only checks
// their form, and each product of the route decides.
func (v *verifier) application(t *token) failure {
	switch {
	case v.users && t.user():
		return userForm(t)
	case t.has(hasScp):
		return forbidden(TokenOfUser, "scp", "present", "none (an application's token)")
	case t.has(hasIdtyp) && t.idtyp != "app":
		return forbidden(TokenOfUser, "idtyp", clip(t.idtyp), "app")
	case !t.has(hasIdtyp) && v.appOnly == AppOnlyStrict:
		f := claimNotFound("idtyp")
		f.expected = "app (an optional claim that the product's application must ask for)"
		return f
	}
	return failure{}
}

// userForm refuses users' tokens whose idtyp says otherwise, or that have no oid or no
// scope.
func userForm(t *token) failure {
	switch {
	case t.has(hasIdtyp) && t.idtyp != "user":
		return forbidden(TokenOfUser, "idtyp", clip(t.idtyp), "user, because the token has scp")
	case t.oid == "":
		return claimNotFound("oid")
	case len(t.scopes()) == 0:
		return unauthorized(JwtInvalid, "scp", "", "names of scopes, separated by spaces")
	}
	return failure{}
}

func (v *verifier) signature(ctx context.Context, t *token, tn *tenant, keys *keySource, signed string, signature []byte) (*signingKey, failure) {
	set, key, err := keys.find(ctx, t.kid)
	switch {
	case errors.Is(err, errKeyUnknown):
		return nil, unauthorized(TokenSignatureKeyNotFound, "kid", clip(t.kid), "a key that the tenant publishes")
	case err != nil:
		return nil, unavailable(KeysUnavailable, "keys of "+tn.id, keys.cause())
	case !key.mayVerify(tn):
		return nil, unauthorized(TokenSignatureKeyNotFound, "issuer of the key", clip(key.issuer), tn.issuerV2)
	}
	if err := set.verify(t, signed, signature); err != nil {
		return nil, unauthorized(TokenSignatureInvalid, "signature", "", "one by the key that kid names")
	}
	return key, failure{}
}

func claimNotFound(claim string) failure {
	return unauthorized(TokenClaimNotFound, claim, missing, "")
}

// clip shortens a text for a record and hides subscription keys.
func clip(s string) string {
	const most = 200
	s = hideKeys(s[:min(len(s), 2*most)]) // a key that is cut here is not in the part that is kept
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

func second(t time.Time) string { return t.UTC().Format(time.RFC3339) }
