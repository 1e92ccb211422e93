package gatetest

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/entragate/entragate/provision/entratest"
)

// attacksOnWorld are rows 37 and 39 to 43: other requests, and what changes
// around the service. They are in the order in which they must run.
func attacksOnWorld(t *Target) []Attack {
	ambiguous := Attack{Row: 39, Name: "two Authorization headers", Status: http.StatusBadRequest, Code: "invalid_request"}
	ambiguous.run = func(a *attacker) error {
		good := "Bearer " + a.token(nil, nil)
		if err := a.besideKey(good); err != nil {
			return err
		}
		return both(
			func(a *attacker) error { return a.header("Authorization", good, "Authorization", "Bearer x") },
			func(a *attacker) error { return a.header("Authorization", "Bearer x", "Authorization", good) },
			func(a *attacker) error { return a.header("Authorization", good, "Authorization", good) })(a)
	}
	all := []Attack{ambiguous}
	if t.Key != "" {
		all = append(all, attackOnKeys())
	}
	all = append(all, invalidToken(41, "past exp, after it was accepted", expiring), invalidToken(41, "parts of tokens that were accepted", recombined))
	for name, revoke := range t.Revoke {
		all = append(all, Attack{Row: 41, Name: name + ", after it was accepted", Status: http.StatusForbidden, Code: "insufficient_scope",
			run: func(a *attacker) error { return revoked(a, revoke) }})
	}
	all = append(all, invalidToken(37, "key of another issuer", foreignKey))
	if t.Advance != nil { // a service drops a key only some minutes after it is gone
		all = append(all, removal(40, "key removed", false), removal(41, "key removed, after it was accepted", true))
	}
	return append(all, Attack{Row: 43, Name: "keys unavailable", Status: http.StatusServiceUnavailable, run: keysUnavailable})
}

// besideKey sends two Authorization headers and a valid key, if the target has one.
func (a *attacker) besideKey(bearer string) error {
	if a.Key == "" {
		return nil
	}
	return a.header("Authorization", bearer, "Authorization", "Bearer x", a.KeyHeader, a.Key)
}

func attackOnKeys() Attack {
	return Attack{Row: 42, Name: "subscription key", Status: http.StatusUnauthorized, run: func(a *attacker) error {
		r := a.request()
		r.Header.Set(a.KeyHeader, a.Key)
		if err := a.expect(r, http.StatusOK, ""); err != nil {
			return fmt.Errorf("the right key: %w", err)
		}
		var all []func(*attacker) error
		for _, key := range []string{a.Key[:len(a.Key)-1], a.Key[:1], "", swapCase(a.Key), a.Key + "x", a.Key + a.Key, "Bearer " + a.Key, strings.Repeat("k", 4096)} {
			if key != a.Key {
				all = append(all, func(a *attacker) error { return a.header(a.KeyHeader, key) })
			}
		}
		return both(all...)(a)
	}}
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, s)
}

// expiring sends a token just before it expires, when it must pass, and again after.
func expiring(a *attacker) error {
	left := 2 * time.Second
	if a.Advance != nil {
		left = 30 * time.Second // costs nothing, and no slow machine can miss it
	}
	exp := a.Tenant.Now().Add(left - a.Leeway)
	token := a.token(map[string]any{"exp": exp.Unix(), "iat": exp.Add(-time.Hour).Unix(), "nbf": exp.Add(-time.Hour).Unix()}, nil)
	if err := a.pass(token); err != nil {
		return err
	}
	if a.Advance != nil {
		a.Advance(left)
	} else {
		time.Sleep(left)
	}
	return a.bearer(token)
}

// recombined finds caches that use only a part of a token as their key: it exchanges
// the parts of two accepted tokens.
func recombined(a *attacker) error {
	one, other := a.token(nil, nil), a.token(map[string]any{"uti": uuid.NewString()}, nil)
	for _, token := range []string{one, other} {
		if err := a.pass(token); err != nil {
			return err
		}
	}
	p, q := strings.Split(one, "."), strings.Split(other, ".")
	for _, parts := range [][]string{{p[0], p[1], q[2]}, {p[0], q[1], p[2]}, {p[0], p[1], p[1]}, {p[1], p[0], p[2]}} {
		if err := a.bearer(strings.Join(parts, ".")); err != nil {
			return err
		}
	}
	return nil
}

func revoked(a *attacker, revoke func() func()) error {
	token := a.token(nil, nil)
	if err := a.pass(token); err != nil {
		return err
	}
	restore := revoke()
	err := a.bearer(token)
	restore()
	return errors.Join(err, a.pass(token))
}

// foreignKey makes the tenant's endpoint publish a key of another issuer, and signs a
// token with that key.
func foreignKey(a *attacker) error {
	base := a.Tenant.BaseURL()
	for i, iss := range []string{base + "/" + foreignTenant + "/v2.0", base + "/sts/" + foreignTenant + "/", "https://example.com/{tenantid}/v2.0"} {
		kid := uuid.NewString() // unknown, so that the service reads its keys anew
		key := ownKey(i)
		a.Tenant.PublishKey(kid, &key.PublicKey, iss)
		f := a.forge()
		own, _ := a.Tenant.SigningKey()
		f.header, f.key = edit(f.header, own, kid), key
		if err := a.bearer(f.sign()); err != nil {
			return fmt.Errorf("issuer %s: %w", iss, err)
		}
	}
	return nil
}

// removal removes the key that signed a token from the tenant's set, lets the
// service fetch the set often enough to drop the key, and tries the token. With
// seen, the service has accepted the token before.
func removal(row int, name string, seen bool) Attack {
	return invalidToken(row, name, func(a *attacker) error {
		kid, key := a.Tenant.SigningKey()
		token := a.token(nil, nil)
		if seen {
			if err := a.pass(token); err != nil {
				return err
			}
		}
		a.Tenant.RotateKeys()
		a.Tenant.RetireKeys()
		if err := a.pass(a.token(nil, nil)); err != nil {
			return fmt.Errorf("a token with the new key: %w", err)
		}
		own, _ := a.Tenant.SigningKey()
		for range fetchesToDrop {
			a.Advance(fetchInterval)
			f := a.forge()
			f.header = edit(f.header, own, uuid.NewString())
			if err := a.bearer(f.sign()); err != nil { // makes the service fetch
				return fmt.Errorf("a token with an invented key ID: %w", err)
			}
		}
		if !seen { // of now, by the old key
			f := a.forge()
			f.header, f.key = edit(f.header, own, kid), key
			token = f.sign()
		}
		return a.bearer(token)
	})
}

// A service may keep a key that is missing in one answer, because Microsoft's endpoint
// was observed to alternate between two sets. Package middleware drops a key after
// three answers without it, 5 minutes apart.
const (
	fetchesToDrop = 3
	fetchInterval = 5 * time.Minute
)

// keysUnavailable makes the key endpoint fail and sends a token with an unknown key.
// Tokens with a known key must still pass.
func keysUnavailable(a *attacker) error {
	known := a.token(nil, nil)
	if err := a.pass(known); err != nil {
		return err
	}
	a.Tenant.OnRequest(func(r entratest.Request) entratest.Fault {
		if r.Service == entratest.KeysService {
			return entratest.Fault{Kind: entratest.UnavailableBefore}
		}
		return entratest.Fault{}
	})
	defer a.Tenant.OnRequest(nil)
	a.Tenant.RotateKeys()
	return errors.Join(a.bearer(a.token(nil, nil)), a.pass(known))
}
