package middleware

import (
	"context"
	"slices"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// CredentialKind is what a caller proved itself with.
type CredentialKind string

// The kinds of credential.
const (
	NoCredential    CredentialKind = "none"
	TokenCredential CredentialKind = "token"
	KeyCredential   CredentialKind = "subscription-key"
)

// Principal is who calls, by the credential that let the request pass.
type Principal struct {
	Credential CredentialKind `json:"credential"`        // TokenCredential or KeyCredential
	Product    string         `json:"product,omitempty"` // ID of the product that let the request pass
	API        string         `json:"api,omitempty"`     // ID of the API, if the route is one's

	// Of a token.
	TenantID string    `json:"tenantId,omitempty"` // tid
	ClientID string    `json:"clientId,omitempty"` // azp or appid: the application that calls
	ObjectID string    `json:"objectId,omitempty"` // oid: its service principal
	Subject  string    `json:"subject,omitempty"`  // sub
	TokenID  string    `json:"tokenId,omitempty"`  // uti; empty if the token has none
	Roles    []string  `json:"roles,omitempty"`    // app roles, of any product
	Expires  time.Time `json:"expires,omitzero"`   // exp

	// Of a token in managed mode.
	ApplicationID   string `json:"applicationId,omitempty"`
	ApplicationName string `json:"applicationName,omitempty"`

	// Of a key.
	SubscriptionID   string `json:"subscriptionId,omitempty"`
	SubscriptionName string `json:"subscriptionName,omitempty"`
	PrimaryKey       bool   `json:"primaryKey,omitempty"` // which of the subscription's two

	// OwnerID is the user who owns the application or the subscription:
	// managed mode only, and may be empty.
	OwnerID string `json:"ownerId,omitempty"`
}

// HasRole reports whether the token carries an app role. Nobody has one.
func (p *Principal) HasRole(role string) bool { return p != nil && slices.Contains(p.Roles, role) }

// PrincipalFrom returns who calls. There is nobody (nil, false) where an open
// product or report-only mode let the request pass without a valid credential,
// or no gate stands before the handler. Of several gates the innermost one
// says. Each call makes a new Principal.
func PrincipalFrom(ctx context.Context) (*Principal, bool) {
	c, _ := ctx.Value(callerKey{}).(*caller)
	switch {
	case c == nil:
		return nil, false
	case c.given != nil:
		p := *c.given
		p.Roles = slices.Clone(p.Roles)
		return &p, true
	case c.product == nil:
		return nil, false
	}
	p := c.principal()
	return &p, true
}

// WithPrincipal is a context in which [PrincipalFrom] finds p, for tests of
// handlers that stand behind a gate. No gate looks at it.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return &callerContext{ctx, caller{given: &p}}
}

// caller is the holder of a valid credential: what a Principal is made of when
// somebody asks for it.
type caller struct {
	token   *token                 // nil for a key
	client  *appaccess.ClientState // of a token; nil in static mode
	key     *appaccess.KeyState    // nil for a token
	product *product               // nil if the credential was refused
	api     string
	given   *Principal // by WithPrincipal
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
	if c.product != nil {
		p.Product = c.product.id
	}
	if t := c.token; t != nil {
		p.TenantID, p.ClientID, p.ObjectID, p.Subject, p.TokenID = t.tid, t.client(), t.oid, t.sub, t.uti
		p.Expires, p.Roles = t.exp.Time, slices.Clone(t.roles)
	}
	if s := c.client; s != nil {
		p.ApplicationID, p.ApplicationName, p.OwnerID = s.ApplicationID, s.Name, s.OwnerID
	}
	if k := c.key; k != nil {
		p.SubscriptionID, p.SubscriptionName, p.PrimaryKey, p.OwnerID = k.SubscriptionID, k.Name, k.Primary, k.OwnerID
	}
	return p
}

type callerKey struct{}

// callerContext holds the caller itself, to save an allocation.
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
