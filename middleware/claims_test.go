package middleware_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/entragate/entragate/middleware"
)

// What is decided on claims at the very bounds, and which claim is named.
func TestClaimBounds(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	cfg := config(newEntra())
	cfg.AppOnly = middleware.AppOnlyStrict
	cfg.Now = func() time.Time { return now }
	g := open(t, cfg)
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	const leeway, lifetime = time.Minute, 28 * time.Hour
	for name, tc := range map[string]struct {
		changes object
		reason  middleware.Reason
		field   string
	}{
		"exp at the end of the leeway":   {object{"iat": at(-time.Hour), "exp": at(-leeway)}, middleware.TokenExpired, "exp"},
		"exp within the leeway":          {object{"iat": at(-time.Hour), "exp": at(time.Second - leeway)}, middleware.Allowed, ""},
		"nbf at the end of the leeway":   {object{"nbf": at(leeway)}, middleware.Allowed, ""},
		"nbf outside the leeway":         {object{"nbf": at(leeway + time.Second)}, middleware.TokenNotYetValid, "nbf"},
		"iat at the end of the leeway":   {object{"iat": at(leeway)}, middleware.Allowed, ""},
		"iat outside the leeway":         {object{"iat": at(leeway + time.Second)}, middleware.TokenNotYetValid, "iat"},
		"the whole lifetime":             {object{"exp": at(lifetime)}, middleware.Allowed, ""},
		"more than the lifetime":         {object{"exp": at(lifetime + time.Second)}, middleware.TokenClaimValueNotAllowed, "exp"},
		"without iat the whole lifetime": {object{"iat": nil, "exp": at(lifetime - leeway)}, middleware.Allowed, ""},
		"without iat more":               {object{"iat": nil, "exp": at(lifetime - leeway + time.Second)}, middleware.TokenClaimValueNotAllowed, "exp"},
		"without exp":                    {object{"exp": nil}, middleware.TokenClaimNotFound, "exp"},
		"azp and appid agree":            {object{"appid": clientID}, middleware.Allowed, ""},
		"azp and appid disagree":         {object{"appid": otherApp}, middleware.TokenClaimValueNotAllowed, "azp"},
		"neither azp nor appid":          {object{"azp": nil}, middleware.TokenClaimNotFound, "azp or appid"},
		"empty azp":                      {object{"azp": ""}, middleware.TokenClaimNotFound, "azp or appid"},
		"an empty role":                  {object{"roles": []string{role, ""}}, middleware.JwtInvalid, "roles"},
		"a role with a tab":              {object{"roles": []string{role, "a\tb"}}, middleware.JwtInvalid, "roles"},
		"no aud":                         {object{"aud": nil}, middleware.TokenClaimNotFound, "aud"},
		"empty aud":                      {object{"aud": []string{}}, middleware.TokenClaimNotFound, "aud"},
		"no iss":                         {object{"iss": nil}, middleware.TokenClaimNotFound, "iss"},
		"no tid":                         {object{"tid": nil}, middleware.TokenClaimNotFound, "tid"},
		"no ver":                         {object{"ver": nil}, middleware.TokenClaimNotFound, "ver"},
		"no idtyp":                       {object{"idtyp": nil}, middleware.TokenClaimNotFound, "idtyp"},
		"empty nonce":                    {object{"nonce": ""}, middleware.TokenClaimValueNotAllowed, "nonce"},
		"empty scp":                      {object{"scp": ""}, middleware.TokenOfUser, "scp"},
	} {
		c := claimsAt(now, nil)
		for k, v := range tc.changes {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		for range 2 { // the second time perhaps from the cache
			d := g.Explain(bearerRequest(mint(t, c)))
			assert.Equal(t, tc.reason, d.Reason, name)
			assert.Equal(t, tc.field, d.Detail.Field, name)
		}
	}
}
