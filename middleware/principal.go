package middleware

import (
	"context"
	"slices"
	"time"
)

// CredentialKind is what a caller proved itself with.
type CredentialKind string

// The kinds of credential.
const (
	NoCredential    CredentialKind = "none"
	TokenCredential CredentialKind = "token"
	KeyCredential   CredentialKind = "subscription-key"
)

// Principal is who calls, by the credential that let the request pass. It is
// made for one request and must not be changed.
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
// stands before the handler.
func PrincipalFrom(ctx context.Context) (*Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(*Principal)
	return p, ok
}

type principalKey struct{}

// principalContext holds the principal itself, to save an allocation.
type principalContext struct {
	context.Context
	principal Principal
}

func (c *principalContext) Value(key any) any {
	if _, ok := key.(principalKey); ok {
		return &c.principal
	}
	return c.Context.Value(key)
}
