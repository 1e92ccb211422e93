package entratest

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// checkAssertion checks a client assertion (RFC 7523): one that the application
// signed with a registered certificate, or one of an issuer that it federates
// with. The caller holds mu.
func (t *Tenant) checkAssertion(app *application, raw string) *aadError {
	claims := jwt.MapClaims{}
	unverified, _, err := jwt.NewParser().ParseUnverified(raw, claims)
	if err != nil {
		return aad(http.StatusBadRequest, "invalid_request", 50027, "JWT token is invalid or malformed.")
	}
	issuer, _ := claims.GetIssuer()
	if strings.EqualFold(issuer, app.AppID) {
		return t.checkSigned(app, raw, unverified)
	}
	return t.checkFederated(app, raw, claims, issuer)
}

func (t *Tenant) parser(methods ...string) *jwt.Parser {
	return jwt.NewParser(jwt.WithTimeFunc(t.cfg.Now), jwt.WithExpirationRequired(),
		jwt.WithLeeway(skew), jwt.WithValidMethods(methods))
}

func (t *Tenant) checkSigned(app *application, raw string, unverified *jwt.Token) *aadError {
	refused := aad(http.StatusUnauthorized, "invalid_client", 700027, "The certificate with identifier used to sign the client assertion is not registered on application, or the signature is wrong, or the certificate is expired.")
	cert := findCertificate(app, unverified.Header)
	if cert == nil || expired(cert.NotBefore, cert.NotAfter, t.now()) {
		return refused
	}
	claims := jwt.MapClaims{}
	_, err := t.parser("RS256", "PS256").ParseWithClaims(raw, claims, func(*jwt.Token) (any, error) { return cert.PublicKey, nil })
	if err != nil {
		return refused
	}
	if sub, _ := claims.GetSubject(); !strings.EqualFold(sub, app.AppID) {
		return aad(http.StatusUnauthorized, "invalid_client", 700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
	}
	at := t.base + "/" + t.cfg.TenantID
	audiences, _ := claims.GetAudience()
	if !slices.ContainsFunc(audiences, func(aud string) bool {
		return aud == at+"/oauth2/v2.0/token" || aud == at+"/v2.0" || aud == at+"/oauth2/token" || aud == t.issuerV1()
	}) {
		return aad(http.StatusUnauthorized, "invalid_client", 700023, "Client assertion audience claim does not match Realm issuer.")
	}
	return nil
}

// findCertificate is the registered certificate that the header's x5t or
// x5t#S256 names; Microsoft's clients send the standard alphabet too.
func findCertificate(app *application, header map[string]any) *x509.Certificate {
	urlSafe := strings.NewReplacer("+", "-", "/", "_", "=", "")
	x5t, _ := header["x5t"].(string)
	x5t256, _ := header["x5t#S256"].(string)
	for _, k := range app.KeyCredentials {
		one, two := sha1.Sum(k.der), sha256.Sum256(k.der)
		if urlSafe.Replace(x5t256) == base64.RawURLEncoding.EncodeToString(two[:]) ||
			urlSafe.Replace(x5t) == base64.RawURLEncoding.EncodeToString(one[:]) {
			if cert, err := x509.ParseCertificate(k.der); err == nil {
				return cert
			}
		}
	}
	return nil
}

func (t *Tenant) checkFederated(app *application, raw string, claims jwt.MapClaims, issuer string) *aadError {
	subject, _ := claims.GetSubject()
	audiences, _ := claims.GetAudience()
	refuse := func(code int, what, got string) *aadError {
		return aad(http.StatusUnauthorized, "invalid_client", code, "No matching federated identity record found for presented assertion %s '%s'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion.", what, got)
	}
	match := app.federated
	for _, step := range []struct {
		code      int
		what, got string
		ok        func(federatedCredential) bool
	}{
		{700211, "issuer", issuer, func(f federatedCredential) bool { return f.Issuer == issuer }},
		{700213, "subject", subject, func(f federatedCredential) bool { return f.Subject == subject }},
		{700212, "audience", strings.Join(audiences, " "), func(f federatedCredential) bool {
			return slices.ContainsFunc(audiences, func(a string) bool { return slices.Contains(f.Audiences, a) })
		}},
	} {
		match = slices.DeleteFunc(slices.Clone(match), func(f federatedCredential) bool { return !step.ok(f) })
		if len(match) == 0 {
			return refuse(step.code, step.what, step.got)
		}
	}
	return t.checkForeign(raw, issuer)
}

// checkForeign checks signature and time with the keys of [Tenant.TrustIssuer].
func (t *Tenant) checkForeign(raw, issuer string) *aadError {
	keys := t.trust[issuer]
	if len(keys) == 0 {
		return aad(http.StatusUnauthorized, "invalid_client", 50166, "Request to External OIDC endpoint failed: entratest was not told the keys of %s.", issuer)
	}
	for _, key := range keys {
		_, err := t.parser("RS256").Parse(raw, func(*jwt.Token) (any, error) { return key, nil })
		if err == nil {
			return nil
		}
	}
	return aad(http.StatusUnauthorized, "invalid_client", 700027, "Client assertion failed signature validation, or it is expired.")
}
