package middleware

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/entragate/entragate/appaccess"
)

// CredentialKind is the kind of a caller's credential.
type CredentialKind string

// The kinds of credential.
const (
	NoCredential    CredentialKind = "none"
	TokenCredential CredentialKind = "token"
	KeyCredential   CredentialKind = "subscription-key"
)

// Principal is the caller, as identified by the credential that let the request pass.
type Principal struct {
	Credential CredentialKind `json:"credential"`        // TokenCredential or KeyCredential
	Product    string         `json:"product,omitempty"` // ID of the product that let the request pass
	API        string         `json:"api,omitempty"`     // ID of the API; empty behind Gate.Product
	// Operation is the ID of the operation, if the API's operations are enforced.
	Operation string `json:"operation,omitempty"`

	// Set for a token.
	TenantID string `json:"tenantId,omitempty"` // tid
	ClientID string `json:"clientId,omitempty"` // azp or appid: the application that calls
	ObjectID string `json:"objectId,omitempty"` // oid: its service principal, or the user
	Subject  string `json:"subject,omitempty"`  // sub
	// User is true for a user's token, which only a product with Scopes accepts. Then
	// ObjectID is the user's, ClientID is the application that acts for the user, and
	// Scopes are the delegated scopes in the token. Roles is empty, because the roles
	// in a user's token are the user's, not the application's.
	User    bool      `json:"user,omitempty"`
	Scopes  []string  `json:"scopes,omitempty"`
	TokenID string    `json:"tokenId,omitempty"` // uti; empty if the token has none
	Roles   []string  `json:"roles,omitempty"`   // app roles, of any product
	Expires time.Time `json:"expires,omitzero"`  // exp

	// ClaimsJSON holds the claims of the verified token as one JSON object, for
	// [Principal.Claims]. It is empty for a key and in a [Decision], and is not part
	// of the Principal's own JSON.
	ClaimsJSON string `json:"-"`

	// Permissions are the product's permissions that the caller has, sorted. A token
	// has the permissions whose roles it carries and, in managed mode, that the client
	// application is granted now. A user's token has none. A key has
	// [appaccess.AllPermission]. See [Principal.Permits].
	Permissions []string `json:"permissions,omitempty"`

	// Set for a token in managed mode.
	ApplicationID   string `json:"applicationId,omitempty"`
	ApplicationName string `json:"applicationName,omitempty"`
	// ClientKind says what the application is in Entra. The tokens of a managed
	// identity live 24 hours.
	ClientKind appaccess.ClientKind `json:"clientKind,omitempty"`

	// Set for a subscription key.
	SubscriptionID   string `json:"subscriptionId,omitempty"`
	SubscriptionName string `json:"subscriptionName,omitempty"`
	PrimaryKey       bool   `json:"primaryKey,omitempty"` // false: the secondary key

	// OwnerID is the user who owns the application or the subscription. It may be
	// empty; for a token it is set in managed mode only.
	OwnerID string `json:"ownerId,omitempty"`
}

// HasRole reports whether the caller's token has an app role. It is false for a key,
// a user's token and a nil Principal.
func (p *Principal) HasRole(role string) bool { return p != nil && slices.Contains(p.Roles, role) }

// Permits reports whether the caller has a permission of the product, or
// [appaccess.AllPermission]. Use it in a handler that decides by more than the
// operation. It is false for a nil Principal.
func (p *Principal) Permits(permission string) bool {
	return p != nil && (slices.Contains(p.Permissions, permission) || slices.Contains(p.Permissions, appaccess.AllPermission))
}

// Claims decodes the claims of the verified token into v, by the rules of
// encoding/json but with exact names. Use it for claims that have no field in
// Principal. The gate has checked signature, issuer, audience and time, and the claims
// in [Product.Claims]. It has NOT checked the value of any other claim. Claims returns
// an error for a subscription key, which has no claims.
func (p *Principal) Claims(v any) error {
	if p == nil || p.ClaimsJSON == "" {
		return errors.New("middleware: the principal has no claims: it was not authenticated by a token")
	}
	if err := json.Unmarshal([]byte(p.ClaimsJSON), v); err != nil {
		return fmt.Errorf("middleware: claims: %w", err)
	}
	return nil
}

// PrincipalFrom returns the caller of a request, from the request's context. It
// returns nil and false if no gate guards the handler, or if an open product or
// report-only mode let the request pass without a valid credential. With several
// gates it returns the innermost one's principal. Each call makes a new Principal.
func PrincipalFrom(ctx context.Context) (*Principal, bool) {
	c, _ := ctx.Value(callerKey{}).(*caller)
	switch {
	case c == nil:
		return nil, false
	case c.given != nil:
		p := *c.given
		p.Roles, p.Scopes, p.Permissions = slices.Clone(p.Roles), slices.Clone(p.Scopes), slices.Clone(p.Permissions)
		return &p, true
	case c.product == nil:
		return nil, false
	}
	p := c.principal()
	return &p, true
}

// WithPrincipal returns a context in which [PrincipalFrom] finds p. It is for tests of
// handlers without a gate. A gate ignores it.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return &callerContext{ctx, caller{given: &p}}
}

// caller is the caller with a valid credential. PrincipalFrom makes a Principal of it.
type caller struct {
	token   *token                 // nil for a key
	client  *appaccess.ClientState // of a token; nil in static mode
	key     *keyCaller             // nil for a token
	product *product               // nil if the credential was refused
	api     string
	op      *operation // nil where no operations are enforced
	given   *Principal // set by WithPrincipal
}

// keyCaller is the state of the request's subscription key, with the hash for reading
// the state again.
type keyCaller struct {
	appaccess.KeyState
	hash [32]byte
}

func (c *caller) kind() CredentialKind {
	switch {
	case c.token != nil:
		return TokenCredential
	case c.key != nil:
		return KeyCredential
	}
	return NoCredential
}

func (c *caller) principal() Principal {
	p := Principal{Credential: c.kind(), API: c.api}
	if c.op != nil {
		p.Operation = c.op.id
	}
	if c.product != nil {
		p.Product, p.Permissions = c.product.id, c.permissions()
	}
	if t := c.token; t != nil {
		p.TenantID, p.ClientID, p.ObjectID, p.Subject, p.TokenID = t.tid, t.client(), t.oid, t.sub, t.uti
		p.Expires, p.ClaimsJSON = t.exp.Time, t.json
		if p.User = t.user(); p.User {
			p.Scopes = t.scopes()
		} else {
			p.Roles = slices.Clone(t.roles)
		}
	}
	if s := c.client; s != nil {
		p.ApplicationID, p.ApplicationName, p.OwnerID, p.ClientKind = s.ApplicationID, s.Name, s.OwnerID, s.Kind
	}
	if k := c.key; k != nil {
		p.SubscriptionID, p.SubscriptionName, p.PrimaryKey, p.OwnerID = k.SubscriptionID, k.Name, k.Primary, k.OwnerID
	}
	return p
}

// permissions returns the product's permissions that the caller has.
func (c *caller) permissions() []string {
	pr, t := c.product, c.token
	switch {
	case pr == nil || t != nil && t.user():
		return nil
	case t == nil:
		return []string{appaccess.AllPermission}
	}
	var names []string
	add := func(name, role string) {
		if role != "" && slices.Contains(t.roles, role) && (c.client == nil || c.client.Grants.Permit(pr.id, name)) {
			names = append(names, name)
		}
	}
	add(appaccess.AllPermission, pr.role)
	for name, role := range pr.roles {
		add(name, role)
	}
	slices.Sort(names)
	return names
}

type callerKey struct{}

// callerContext is a context with a caller, for report-only mode and WithPrincipal.
// Otherwise the passage holds the caller.
type callerContext struct {
	context.Context
	caller caller
}

func (c *callerContext) Value(key any) any {
	if _, ok := key.(callerKey); ok {
		return &c.caller
	}
	return c.Context.Value(key)
}
