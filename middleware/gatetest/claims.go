package gatetest

import (
	"encoding/json"
	"net/http"
	"time"
)

const (
	foreignTenant   = "99990000-ffff-1111-aaaa-2222bbbb3333"
	foreignAudience = "99990000-ffff-1111-aaaa-2222bbbb4444"
)

// at attacks with claims that depend on the tenant's time.
func at(change func(a *attacker, now time.Time) map[string]any) func(*attacker) error {
	return func(a *attacker) error { return a.bearer(a.token(change(a, a.Tenant.Now()), nil)) }
}

func with(name string, values ...any) func(*attacker) error {
	var all []func(*attacker) error
	for _, v := range values {
		all = append(all, claiming(map[string]any{name: v}))
	}
	return both(all...)
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

// attacksOnClaims are rows 21 to 38: a genuine signature over the wrong claims.
func attacksOnClaims(t *Target) []Attack {
	aud, _ := t.Claims["aud"].(string)
	roles, _ := t.Claims["roles"].([]string)
	role := ""
	if len(roles) > 0 {
		role = roles[0]
	}
	all := []Attack{
		invalidToken(21, "aud of another type", with("aud", []any{[]string{aud}}, 1, map[string]any{"aud": aud}, nil, raw("null"), raw("true"), "", []string{})),
		invalidToken(21, "aud unknown", with("aud", foreignAudience, "https://graph.microsoft.com")),
		invalidToken(22, "aud with a foreign one beside", with("aud", []string{aud, foreignAudience}, []string{foreignAudience, aud})),
		invalidToken(23, "aud that is nearly the one", with("aud", aud+"/", " "+aud, aud+" ", aud[:len(aud)-1])),
		invalidToken(24, "exp missing or no time", with("exp", nil, raw("null"), 0, -1, true, raw("1e300"), raw("1e19"), raw("99999999999999999999"), []int64{99999999999})),
		invalidToken(25, "exp as a string", at(func(_ *attacker, now time.Time) map[string]any {
			b, _ := json.Marshal(now.Add(time.Hour).Unix())
			return map[string]any{"exp": string(b)}
		})),
		invalidToken(26, "exp years ahead", both(
			at(func(_ *attacker, now time.Time) map[string]any {
				return map[string]any{"exp": now.AddDate(10, 0, 0).Unix()}
			}),
			at(func(a *attacker, now time.Time) map[string]any {
				return map[string]any{"exp": now.Add(a.MaxLifetime + time.Hour).Unix()}
			}),
			at(func(a *attacker, now time.Time) map[string]any {
				return map[string]any{"iat": nil, "nbf": nil, "exp": now.Add(a.MaxLifetime + time.Hour).Unix()}
			}),
			at(func(a *attacker, now time.Time) map[string]any {
				return map[string]any{"iat": now.Add(-a.MaxLifetime).Unix(), "nbf": now.Add(-a.MaxLifetime).Unix()}
			}))),
		invalidToken(27, "nbf ahead", at(func(a *attacker, now time.Time) map[string]any {
			return map[string]any{"nbf": now.Add(a.Leeway + time.Minute).Unix()}
		})),
		invalidToken(28, "nbf or iat out of range", both(with("nbf", raw("1e300"), raw("null"), "1"), with("iat", raw("null"), raw("-1")),
			at(func(_ *attacker, now time.Time) map[string]any {
				return map[string]any{"iat": now.Add(24 * time.Hour).Unix(), "exp": now.Add(25 * time.Hour).Unix()}
			}))),
		invalidToken(29, "expired outside the leeway", expiredFor(time.Minute)),
		{Row: 29, Name: "expired inside the leeway", Status: http.StatusOK, run: expiredFor(-30 * time.Second)},
		invalidToken(30, "roles of another form", with("roles", role, role+" other", []string{role + " other"}, []any{[]string{role}}, raw("null"), map[string]any{role: true}, []any{role, 1}, swapCase(role), []string{swapCase(role)})),
		insufficientScope(31, "role absent or another's", with("roles", nil, []string{}, []string{"Product.Of.Another.All"}, []string{role + ".x"}, []string{"x" + role})),
		insufficientScope(32, "token of a user (scp)", both(claiming(map[string]any{"scp": "user_impersonation", "idtyp": nil}), claiming(map[string]any{"scp": "user_impersonation"}), claiming(map[string]any{"scp": ""}))),
		insufficientScope(33, "token of a user (idtyp)", with("idtyp", "user", "device", "App", "")),
		invalidToken(34, "iss of another tenant", func(a *attacker) error {
			foreign := a.Tenant.BaseURL() + "/" + foreignTenant + "/v2.0"
			return with("iss", foreign, []string{a.Tenant.Issuer()}, []string{foreign, a.Tenant.Issuer()}, nil, raw("null"), a.Tenant.Issuer()+"/", "")(a)
		}),
		invalidToken(35, "tid that disagrees with iss", with("tid", foreignTenant, nil, raw("null"), "")),
		invalidToken(36, "ver that disagrees with iss", func(a *attacker) error {
			return both(claiming(map[string]any{"iss": a.Tenant.IssuerV1(), "ver": "2.0"}), claiming(map[string]any{"iss": a.Tenant.Issuer(), "ver": "1.0"}), with("ver", nil, 2, "2"))(a)
		}),
		invalidToken(38, "ID token", func(a *attacker) error {
			id := map[string]any{"azp": nil, "appid": nil, "azpacr": nil, "appidacr": nil, "idtyp": nil, "nonce": "n", "name": "A User", "preferred_username": "user@example.com"}
			bare := map[string]any{"azp": nil, "appid": nil, "azpacr": nil, "appidacr": nil, "idtyp": nil}
			return both(claiming(id), claiming(bare), with("nonce", "n"))(a)
		}),
	}
	if t.OtherAudience != "" {
		all = append(all, insufficientScope(21, "aud of another product", with("aud", t.OtherAudience)),
			insufficientScope(22, "aud of both products", with("aud", []string{aud, t.OtherAudience})))
	}
	return all
}

// expiredFor attacks with a token whose exp and leeway passed a time ago. A negative
// time means that the token is still in the leeway.
func expiredFor(ago time.Duration) func(*attacker) error {
	return at(func(a *attacker, now time.Time) map[string]any {
		exp := now.Add(-a.Leeway - ago)
		if ago < 0 { // inside, however short the leeway is
			exp = now.Add(-a.Leeway / 2)
		}
		return map[string]any{"iat": exp.Add(-time.Hour).Unix(), "nbf": exp.Add(-time.Hour).Unix(), "exp": exp.Unix()}
	})
}
