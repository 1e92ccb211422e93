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
	Credential CredentialKind // TokenCredential or KeyCredential
	Product    string         // ID of the product that let the request pass
	API        string         // ID of the API, if the route is one's

	// Of a token.
	TenantID string    // tid
	ClientID string    // azp or appid: the application that calls
	ObjectID string    // oid: its service principal
	Subject  string    // sub
	TokenID  string    // uti; empty if the token has none
	Expires  time.Time // exp

	// Of a token in managed mode.
	ApplicationID   string
	ApplicationName string

	// Of a key.
	SubscriptionID   string
	SubscriptionName string
	PrimaryKey       bool // which of the subscription's two

	// OwnerID is the user who owns the application or the subscription:
	// managed mode only, and may be empty.
	OwnerID string

	roles []string
}

// HasRole reports whether the token carries an app role.
func (p *Principal) HasRole(role string) bool { return slices.Contains(p.roles, role) }

// Roles are the app roles of the token, of any product.
func (p *Principal) Roles() []string { return slices.Clone(p.roles) }

// PrincipalFrom returns who calls. There is nobody where an open product or
// report-only mode let the request pass without a valid credential, or no gate
// stands before the handler. Each call makes a new Principal.
func PrincipalFrom(ctx context.Context) (*Principal, bool) {
	c, ok := ctx.Value(callerKey{}).(*caller)
	if !ok {
		return nil, false
	}
	p := c.principal()
	return &p, true
}

// caller is the holder of a valid credential: what a Principal is made of when
// somebody asks for it.
type caller struct {
	token   *token                 // nil for a key
	client  *appaccess.ClientState // of a token; nil in static mode
	key     *appaccess.KeyState    // nil for a token
	product *product               // nil if the credential was refused
	api     string
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
		p.Expires, p.roles = t.exp.Time, t.roles
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
