package apim

import (
	"slices"
	"strings"
	"time"
)

// Instance is what was read of an API Management instance. It holds no key and
// no secret. IDs are the instance's own, in their own letter case.
type Instance struct {
	Name     string   // of the service; empty when files do not say
	SKU      string   // such as Standard or Consumption
	TenantID string   // the Entra tenant of the instance's managed identity, if it has one
	Hosts    []string // the gateway's host names, which callers use

	APIs          []API
	VersionSets   []VersionSet
	Products      []Product
	Users         []User
	Subscriptions []Subscription
	Applications  []Application // of the applications preview
	Policies      []Policy
	Fragments     []Policy          // policy fragments; Scope is the fragment's ID
	NamedValues   map[string]string // by display name; empty for secret ones

	// UserTenants are the tenants whose users may sign in to the developer
	// portal. Only one GUID makes a user's object ID an identity.
	UserTenants []string

	// Missing names the kinds of object that the source cannot show, with the
	// reason. A kind that is named here is not an empty list.
	Missing map[Kind]string

	// Ignored are files in which no object of an instance was found.
	Ignored []string

	// Counted are objects that are counted but not carried, such as gateways
	// and groups: kind to names.
	Counted map[string][]string
}

// Kind is a kind of object of an instance.
type Kind string

// The kinds that a source may lack.
const (
	KindAPI          Kind = "apis"
	KindProduct      Kind = "products"
	KindUser         Kind = "users"
	KindSubscription Kind = "subscriptions"
	KindApplication  Kind = "clientApplications"
	KindPolicy       Kind = "policies"
	// KindPreview means the members that only the preview version of the
	// interface shows: how a product authenticates callers.
	KindPreview Kind = "the preview version of products"
)

// API is one version of an API in its current revision, or a revision.
type API struct {
	ID, Name, Description string
	Path                  string // without a leading slash; may be empty
	ServiceURL            string
	Type                  string // http, soap, graphql, websocket, odata, grpc
	KeyRequired           bool
	KeyHeader, KeyQuery   string // empty: not stated
	Version               string // empty for the original version
	VersionSet            string // ID; empty if the API has no versions
	Revision              string
	Current               bool
	Online                bool // of a revision that is not current
	Operations            []Operation
}

// Operation is one operation of an API.
type Operation struct {
	ID, Name, Method, Template string
}

// VersionSet says how callers choose one of several versions.
type VersionSet struct {
	ID, Name, Scheme string // Segment, Header or Query
	Parameter        string // the header's or query parameter's name
}

// Product groups APIs.
type Product struct {
	ID, Name, Description string
	Published             bool
	KeyRequired           bool
	ApprovalRequired      bool
	Limit                 int // subscriptions a user may have; -1: no limit
	Terms                 bool
	Authentication        []string // subscription-key, application-token; nil: not read
	ApplicationID         string   // client ID in Entra
	Audience              string
	APIs                  []string
	Groups                []string
}

// token reports whether the product accepts tokens of client applications.
func (p *Product) token() bool { return slices.Contains(p.Authentication, "application-token") }

// key reports whether the product accepts subscription keys.
func (p *Product) key() bool {
	if p.Authentication == nil {
		return p.KeyRequired
	}
	return slices.Contains(p.Authentication, "subscription-key") && p.KeyRequired
}

// open reports whether calls without any credential pass.
func (p *Product) open() bool { return !p.KeyRequired && !p.token() }

// User is an account of the developer portal.
type User struct {
	ID, FirstName, LastName, Email, State, Note string
	Identities                                  []Identity
}

// Identity is how a user signs in.
type Identity struct{ Provider, ID string }

// Subscription has two keys, which are not here.
type Subscription struct {
	ID, Name, OwnerID, State, Comment string
	Scope                             string // /products/{id}, /apis/{id}, /apis, or / for all access
	Expires                           time.Time
}

// Application is a client application of the applications preview.
type Application struct {
	ID, Name, Description, OwnerID, State string
	AppID, TenantID                       string
	Products                              []string
}

// Policy is the policy document of one scope: "" for the whole instance,
// products/{id}, apis/{id} or apis/{id}/operations/{id}.
type Policy struct {
	Scope, XML string
}

// lookup finds the name that equals id but for letter case, since ARM's IDs
// compare without it.
func lookup[T any](list []T, id string, name func(*T) string) *T {
	for i := range list {
		if strings.EqualFold(name(&list[i]), id) {
			return &list[i]
		}
	}
	return nil
}

func (in *Instance) api(id string) *API {
	return lookup(in.APIs, id, func(a *API) string { return a.ID })
}
func (in *Instance) product(id string) *Product {
	return lookup(in.Products, id, func(p *Product) string { return p.ID })
}
func (in *Instance) user(id string) *User {
	return lookup(in.Users, id, func(u *User) string { return u.ID })
}
func (in *Instance) versionSet(id string) *VersionSet {
	return lookup(in.VersionSets, id, func(v *VersionSet) string { return v.ID })
}
