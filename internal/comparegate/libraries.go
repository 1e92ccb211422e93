package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	auth0v2 "github.com/auth0/go-jwt-middleware/v2"
	jwks2 "github.com/auth0/go-jwt-middleware/v2/jwks"
	validator2 "github.com/auth0/go-jwt-middleware/v2/validator"
	auth0v3 "github.com/auth0/go-jwt-middleware/v3"
	jwks3 "github.com/auth0/go-jwt-middleware/v3/jwks"
	validator3 "github.com/auth0/go-jwt-middleware/v3/validator"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwx "github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/entragate/entragate/middleware"
)

// library makes a handler that lets pass what the world's tokens are.
type library struct {
	name    string
	seen    bool // one token again and again; else a new one each time
	handler func(*world) (http.Handler, error)
}

var libraries = []library{
	{"**gate**, a token seen before", true, func(w *world) (http.Handler, error) { return gate(w, 0) }},
	{"**gate**, a new token", false, func(w *world) (http.Handler, error) { return gate(w, 8) }},
	{"jwt/v5 + keyfunc/v3", false, viaJWT},
	{"go-oidc/v3", false, viaOIDC},
	{"jwx/v3", false, viaJWX},
	{"go-jwt-middleware/v2", false, viaAuth0v2},
	{"go-jwt-middleware/v3", false, viaAuth0v3},
}

var errRole = errors.New("role missing")

var nothing = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// guard is a thin middleware around a check of a raw token.
func guard(check func(context.Context, string) ([]string, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		roles, err := check(r.Context(), raw)
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if !slices.Contains(roles, role) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		nothing.ServeHTTP(w, r)
	})
}

func gate(w *world, cache int) (http.Handler, error) {
	g, err := middleware.New(middleware.Config{
		Tenants: []string{tenantID}, Authority: w.srv.URL, CacheSize: cache,
		Products: []middleware.Product{{ID: "starter", Audiences: []string{audience}, Role: role}},
	})
	if err != nil {
		return nil, err
	}
	return g.Product("starter")(nothing), g.Ready(context.Background())
}

func viaJWT(w *world) (http.Handler, error) {
	keys, err := keyfunc.NewDefault([]string{w.keys()})
	if err != nil {
		return nil, err
	}
	type claims struct {
		jwt.RegisteredClaims
		Roles []string `json:"roles"`
	}
	return guard(func(_ context.Context, raw string) ([]string, error) {
		var c claims
		_, err := jwt.ParseWithClaims(raw, &c, keys.Keyfunc, jwt.WithValidMethods([]string{"RS256"}),
			jwt.WithIssuer(w.issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired())
		return c.Roles, err
	}), nil
}

func viaOIDC(w *world) (http.Handler, error) {
	keys := oidc.NewRemoteKeySet(context.Background(), w.keys())
	verifier := oidc.NewVerifier(w.issuer, keys, &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{"RS256"}})
	return guard(func(ctx context.Context, raw string) ([]string, error) {
		token, err := verifier.Verify(ctx, raw)
		if err != nil {
			return nil, err
		}
		var c struct {
			Roles []string `json:"roles"`
		}
		err = token.Claims(&c)
		return c.Roles, err
	}), nil
}

func viaJWX(w *world) (http.Handler, error) {
	set, err := jwk.Fetch(context.Background(), w.keys())
	if err != nil {
		return nil, err
	}
	return guard(func(_ context.Context, raw string) ([]string, error) {
		token, err := jwx.Parse([]byte(raw), jwx.WithKeySet(set), jwx.WithIssuer(w.issuer), jwx.WithAudience(audience), jwx.WithRequiredClaim("exp"))
		if err != nil {
			return nil, err
		}
		var list []any
		if err := token.Get("roles", &list); err != nil {
			return nil, err
		}
		var roles []string
		for _, r := range list {
			s, _ := r.(string)
			roles = append(roles, s)
		}
		return roles, nil
	}), nil
}

// rolesClaim is what go-jwt-middleware, of either version, decodes besides.
type rolesClaim struct {
	Roles []string `json:"roles"`
}

func (c *rolesClaim) Validate(context.Context) error {
	if !slices.Contains(c.Roles, role) {
		return errRole
	}
	return nil
}

func viaAuth0v2(w *world) (http.Handler, error) {
	issuer, err := url.Parse(w.issuer)
	if err != nil {
		return nil, err
	}
	keys := jwks2.NewCachingProvider(issuer, time.Hour, jwks2.WithCustomJWKSURI(w.keysURL()))
	v, err := validator2.New(keys.KeyFunc, validator2.RS256, w.issuer, []string{audience},
		validator2.WithCustomClaims(func() validator2.CustomClaims { return &rolesClaim{} }))
	if err != nil {
		return nil, err
	}
	return auth0v2.New(v.ValidateToken).CheckJWT(nothing), nil
}

func viaAuth0v3(w *world) (http.Handler, error) {
	issuer, err := url.Parse(w.issuer)
	if err != nil {
		return nil, err
	}
	keys, err := jwks3.NewCachingProvider(jwks3.WithIssuerURL(issuer), jwks3.WithCustomJWKSURI(w.keysURL()), jwks3.WithCacheTTL(time.Hour))
	if err != nil {
		return nil, err
	}
	v, err := validator3.New(validator3.WithKeyFunc(keys.KeyFunc), validator3.WithAlgorithm(validator3.RS256),
		validator3.WithIssuer(w.issuer), validator3.WithAudience(audience),
		validator3.WithCustomClaims(func() *rolesClaim { return &rolesClaim{} }))
	if err != nil {
		return nil, err
	}
	m, err := auth0v3.New(auth0v3.WithValidator(v))
	if err != nil {
		return nil, err
	}
	return m.CheckJWT(nothing), nil
}
