package entratest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokenLifetime is how long access tokens live; they are valid from skew
// before they were issued.
const (
	tokenLifetime    = time.Hour
	identityLifetime = 24 * time.Hour // of the tokens of managed identities
	skew             = 5 * time.Minute
)

// MintToken signs a token with the tenant's current key whatever it says: for
// tests of what a resource accepts. Claims that are not given default to those
// of a version 2 token (iss, tid, iat, nbf, exp, ver, uti) and header members
// to typ, alg and kid; nil takes one out, json.RawMessage("null") makes it
// null. The signature is RS256 whatever alg says.
func (t *Tenant) MintToken(claims, header map[string]any) string {
	all := t.common("2.0", t.Issuer())
	override(all, claims)
	return t.sign(all, header)
}

// AppClaims are the claims of the access token that a client application gets
// for a resource, both by application ID, with the roles that it is granted
// now. It ignores assignment requirements and lag.
func (t *Tenant) AppClaims(clientAppID, resourceAppID string) (map[string]any, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.newest()
	client, resource := v.principalOf(clientAppID), v.principalOf(resourceAppID)
	if client == nil || resource == nil {
		return nil, fmt.Errorf("entratest: no service principal of client %q or resource %q", clientAppID, resourceAppID)
	}
	return t.appClaims(v, client, resource, resourceAppID, "1"), nil
}

func override(m, with map[string]any) {
	for k, v := range with {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
}

// sign makes the compact form. It does not need mu.
func (t *Tenant) sign(claims, header map[string]any) string {
	key := t.currentKey()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(claims))
	token.Header["kid"] = key.kid
	override(token.Header, header)
	signed, err := token.SignedString(key.private)
	if err != nil {
		panic(fmt.Sprintf("entratest: claims or header cannot be JSON: %v", err))
	}
	return signed
}

// common are the claims that every token has.
func (t *Tenant) common(ver, iss string) map[string]any {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.commonLocked(ver, iss)
}

func (t *Tenant) commonLocked(ver, iss string) map[string]any {
	now := t.now()
	return map[string]any{
		"iss": iss,
		"tid": t.cfg.TenantID,
		"iat": now.Add(-skew).Unix(),
		"nbf": now.Add(-skew).Unix(),
		"exp": now.Add(tokenLifetime).Unix(),
		"ver": ver,
		"uti": t.newText(22),
	}
}

// RevokeTokens makes Graph refuse the access tokens that a caller has for it, with
// 401 TokenCreatedWithOutdatedPolicies, as Entra does when a policy or a role
// changes. A new token is accepted.
func (t *Tenant) RevokeTokens(c Caller) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, uti := range t.issued[c.ObjectID] {
		t.revoked[uti] = true
	}
	delete(t.issued, c.ObjectID)
}

// tokenVersion is the version of the tokens that a resource asks for.
func (v view) tokenVersion(resource *servicePrincipal) int {
	if a := v.applicationOf(resource.AppID); a != nil && a.API.RequestedAccessTokenVersion != nil {
		return *a.API.RequestedAccessTokenVersion
	}
	return 1
}

// appClaims returns the claims of an app-only access token. The roles are the grants
// that a replica shows. asked is the resource as the scope named it; acr is how the
// client proved itself: "1" by secret, "2" by certificate or assertion. The
// caller holds mu.
func (t *Tenant) appClaims(v view, client, resource *servicePrincipal, asked, acr string) map[string]any {
	var c map[string]any
	if v.tokenVersion(resource) == 2 {
		c = t.commonLocked("2.0", t.issuer())
		maps.Copy(c, map[string]any{"aud": resource.AppID, "azp": client.AppID, "azpacr": acr})
	} else {
		iss := t.issuerV1()
		c = t.commonLocked("1.0", iss)
		maps.Copy(c, map[string]any{"aud": asked, "appid": client.AppID, "appidacr": acr, "idp": iss})
	}
	maps.Copy(c, map[string]any{
		"oid": client.ID, "sub": client.ID,
		"aio": t.newText(48), "rh": "1." + t.newText(40) + ".",
	})
	if roles := v.roles(client.ID, resource, "Application"); len(roles) > 0 {
		c["roles"] = roles
	}
	if resource.AppID == GraphAppID {
		c["idtyp"], c["app_displayname"] = "app", client.DisplayName
		c["wids"] = wids(client)
		t.issued[client.ID] = append(t.issued[client.ID], c["uti"].(string))
	} else if v.wantsClaim(resource, "idtyp") {
		c["idtyp"] = "app"
	}
	return c
}

// wantsClaim reports whether the resource asks for an optional access-token claim.
func (v view) wantsClaim(resource *servicePrincipal, name string) bool {
	a := v.applicationOf(resource.AppID)
	return a != nil && a.OptionalClaims != nil &&
		slices.ContainsFunc(a.OptionalClaims.AccessToken, func(c optionalClaim) bool { return c.Name == name })
}

// roles are the values of the enabled roles that a principal holds on a
// resource.
func (v view) roles(principalID string, resource *servicePrincipal, memberType string) []string {
	var values []string
	for _, g := range v.held(principalID) {
		role, ok := resource.role(g.AppRoleID)
		if g.ResourceID == resource.ID && ok && role.IsEnabled && role.value() != "" && role.allows(memberType) {
			values = append(values, role.value())
		}
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// assigned reports whether a principal is assigned to a resource at all.
func (v view) assigned(principalID string, resource *servicePrincipal) bool {
	return slices.ContainsFunc(v.held(principalID), func(g *assignment) bool { return g.ResourceID == resource.ID })
}

// Now returns the tenant's time, Config.Now in UTC.
func (t *Tenant) Now() time.Time { return t.now() }
