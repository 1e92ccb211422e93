package tokenclient

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/entragate/entragate/internal/secret"
)

// Token is an access token. It is immutable and safe for concurrent use. It prints, logs
// and marshals only its scope and expiry.
type Token struct {
	value    secret.Value
	header   secret.Value
	scope    string
	obtained time.Time
	expires  time.Time
}

// Reveal returns the access token itself. Whoever holds it can call the API.
func (t *Token) Reveal() string { return t.value.Reveal() }

// Authorization returns the value of an Authorization header: "Bearer " and the token.
func (t *Token) Authorization() string { return t.header.Reveal() }

// Scope returns the requested scope.
func (t *Token) Scope() string { return t.scope }

// Obtained returns when the request for the token was sent, by the local clock.
func (t *Token) Obtained() time.Time { return t.obtained }

// Expires returns when the token expires, by the local clock.
func (t *Token) Expires() time.Time { return t.expires }

// String returns scope and expiry.
func (t *Token) String() string {
	return fmt.Sprintf("token for %q until %s", t.scope, t.expires.Format(time.RFC3339))
}

// Format writes [Token.String] for every verb.
func (t *Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// LogValue returns scope and expiry for log/slog.
func (t *Token) LogValue() slog.Value {
	return slog.GroupValue(slog.String("scope", t.scope), slog.Time("expires", t.expires))
}

// MarshalJSON returns scope and expiry.
func (t *Token) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"scope": t.scope, "expires": t.expires})
}
