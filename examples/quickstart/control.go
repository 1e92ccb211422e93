package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/entragate/entragate/appaccess"
)

// control lets other programs, such as tests, do to the running stack what a
// manager or Entra might: each a POST with the header "Authorization: Bearer
// <controlKey>" (or "X-Control-Key: <controlKey>"). It answers with a JSON
// object once the change is stored.
type control struct {
	*stack
	sample
	key string
}

func (c *control) handler() http.Handler {
	mux := http.NewServeMux()
	for path, do := range map[string]func(*http.Request) (map[string]string, error){
		"POST /rotate-keys":    c.rotateKeys,
		"POST /keys-outage":    c.keysOutage,
		"POST /suspend":        c.application(c.service.SuspendApplication),
		"POST /resume":         c.application(c.service.ResumeApplication),
		"POST /ungrant":        c.application(c.ungrant),
		"POST /grant":          c.application(c.grant),
		"POST /regenerate-key": c.regenerateKey,
	} {
		mux.HandleFunc(path, c.guarded(do))
	}
	return mux
}

func (c *control) guarded(do func(*http.Request) (map[string]string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !c.allowed(r) {
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": "send the control key as a bearer token"})
			return
		}
		answer, err := do(r)
		if err != nil {
			w.WriteHeader(appaccess.Status(err))
			answer = map[string]string{"error": err.Error()}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func (c *control) allowed(r *http.Request) bool {
	want := []byte(c.key)
	given := r.Header.Get("X-Control-Key")
	bearer := r.Header.Get("Authorization")
	return subtle.ConstantTimeCompare([]byte(given), want) == 1 ||
		subtle.ConstantTimeCompare([]byte(bearer), append([]byte("Bearer "), want...)) == 1
}

func (c *control) rotateKeys(*http.Request) (map[string]string, error) {
	c.tenant.RotateKeys()
	return map[string]string{"keys": "rotated"}, nil
}

func (c *control) keysOutage(r *http.Request) (map[string]string, error) {
	on, err := strconv.ParseBool(r.URL.Query().Get("on"))
	if err != nil {
		return nil, &appaccess.InvalidError{Field: "on", Rule: "true or false"}
	}
	c.keysDown.Store(on)
	return map[string]string{"keysOutage": strconv.FormatBool(on)}, nil
}

func (c *control) application(
	do func(context.Context, appaccess.Actor, string) (appaccess.ClientApplication, error),
) func(*http.Request) (map[string]string, error) {
	return func(r *http.Request) (map[string]string, error) {
		app, err := do(r.Context(), manager, c.applicationID)
		return map[string]string{"state": string(app.State)}, err
	}
}

func (c *control) grant(ctx context.Context, by appaccess.Actor, id string) (appaccess.ClientApplication, error) {
	return c.service.GrantProducts(ctx, by, id, appaccess.GrantsOfAll("starter"))
}

func (c *control) ungrant(ctx context.Context, by appaccess.Actor, id string) (appaccess.ClientApplication, error) {
	return c.service.RevokeProducts(ctx, by, id, []string{"starter"})
}

func (c *control) regenerateKey(r *http.Request) (map[string]string, error) {
	key, err := c.service.RegenerateKey(r.Context(), manager, c.subscriptionID, appaccess.PrimaryKey)
	return map[string]string{"subscriptionKey": key.Reveal()}, err
}
