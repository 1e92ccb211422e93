package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/entragate/entragate/internal/wait"
)

// call is one request to the gateway and what must come of it.
type call struct {
	what   string
	header http.Header
	want   int
}

// resource is the operation that the spec's script calls.
const resource = "/echo/resource?param1=sample"

// post sends the spec's request: a POST with a small JSON body.
func post(ctx context.Context, client *http.Client, url string, header http.Header) (status int, body string, err error) {
	return send(ctx, client, http.MethodPost, url, header)
}

func send(ctx context.Context, client *http.Client, method, url string, header http.Header) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var sent io.Reader
	if method == http.MethodPost {
		sent = strings.NewReader(`{"hello":"world"}`)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, sent)
	if err != nil {
		return 0, "", err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	if sent != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(text), err
}

// run makes a call and prints it; a wrong outcome is an error.
func (c call) run(ctx context.Context, client *http.Client, gateway string, say func(string, ...any)) error {
	return c.runOn(ctx, client, http.MethodPost, gateway+resource, say)
}

// runOn calls another operation than the spec's.
func (c call) runOn(ctx context.Context, client *http.Client, method, url string, say func(string, ...any)) error {
	status, body, err := send(ctx, client, method, url, c.header)
	if err != nil {
		return fmt.Errorf("%s: %w", c.what, err)
	}
	mark := "ok"
	if status != c.want {
		mark = "WRONG"
	}
	say("%-52s %d %-21s %s%s", c.what, status, http.StatusText(status), mark, message(body))
	if status != c.want {
		return fmt.Errorf("%s: got %d, want %d", c.what, status, c.want)
	}
	return nil
}

// message is the gate's own text, of a refusal.
func message(body string) string {
	var refusal struct {
		Message string `json:"message"`
	}
	if json.Unmarshal([]byte(body), &refusal) != nil || refusal.Message == "" {
		return ""
	}
	return "\n      " + refusal.Message
}

func bearer(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

func subscriptionKey(key string) http.Header {
	return http.Header{"Ocp-Apim-Subscription-Key": {key}}
}

// until waits for what the gateway learns a little after the Service did it.
func until(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if err := wait.For(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
	}
}

// untilRefused calls until the gate refuses, and returns how long that took. A call
// that began later than limit and still passes is an error.
func untilRefused(ctx context.Context, client *http.Client, gateway string, header http.Header, limit time.Duration) (time.Duration, error) {
	ended := time.Now()
	for {
		begun := time.Since(ended)
		status, _, err := post(ctx, client, gateway+resource, header)
		switch {
		case err != nil:
			return begun, err
		case status == http.StatusUnauthorized || status == http.StatusForbidden:
			return time.Since(ended), nil
		case begun > limit:
			return begun, fmt.Errorf("still %d after %v", status, begun)
		}
	}
}
