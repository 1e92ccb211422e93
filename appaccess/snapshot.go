package appaccess

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

// Snapshot is one immutable state of all products and APIs, for use on every request.
// It is safe for concurrent use and must not be changed.
type Snapshot struct {
	revision Revision
	resets   uint64 // how many Resets the Catalog had seen when the snapshot was read
	products map[string]*Product
	byAPI    map[string][]*Product
	apis     map[string]*API
	paths    []*API // longest path first
}

// NewSnapshot makes a snapshot. It keeps products and APIs without a copy: the caller
// must not change them any more. It ignores an API that a product names and that is
// not among apis.
func NewSnapshot(revision Revision, products []Product, apis []API) *Snapshot {
	s := &Snapshot{
		revision: revision,
		products: make(map[string]*Product, len(products)),
		byAPI:    map[string][]*Product{},
		apis:     make(map[string]*API, len(apis)),
	}
	for i := range apis {
		a := &apis[i]
		s.apis[a.ID] = a
		s.paths = append(s.paths, a)
	}
	slices.SortFunc(s.paths, func(a, b *API) int {
		return cmp.Or(cmp.Compare(len(b.Path), len(a.Path)), strings.Compare(a.Path, b.Path))
	})
	for i := range products {
		p := &products[i]
		s.products[p.ID] = p
		for _, id := range p.APIs {
			if s.apis[id] != nil {
				s.byAPI[id] = append(s.byAPI[id], p)
			}
		}
	}
	return s
}

// Revision returns the store's revision that the snapshot shows.
func (s *Snapshot) Revision() Revision { return s.revision }

// shows reports whether a snapshot was read after a Reset and shows a revision.
func (s *Snapshot) shows(reset uint64, rev Revision) bool {
	return s.resets == reset && s.revision >= rev
}

// Product returns a product; nil if it does not exist.
func (s *Snapshot) Product(id string) *Product { return s.products[id] }

// API returns an API; nil if it does not exist.
func (s *Snapshot) API(id string) *API { return s.apis[id] }

// Products returns all products, in no order.
func (s *Snapshot) Products() iter.Seq[*Product] { return maps.Values(s.products) }

// APIs returns all APIs, the longest paths first.
func (s *Snapshot) APIs() iter.Seq[*API] { return slices.Values(s.paths) }

// ProductsOf returns the products that group an API.
func (s *Snapshot) ProductsOf(apiID string) []*Product { return s.byAPI[apiID] }

// Match returns the API whose path is the longest beginning of a URL path, by whole
// segments; nil if there is none. The path must be clean: the caller must check that.
func (s *Snapshot) Match(path string) *API {
	for _, a := range s.paths {
		if rest, ok := strings.CutPrefix(path, strings.TrimSuffix(a.Path, "/")); ok && (rest == "" || rest[0] == '/') {
			return a
		}
	}
	return nil
}

// ClientState is what a gate must know of a client application.
type ClientState struct {
	ApplicationID string // ID in the store
	AppID         string // Entra's client ID
	Name          string
	OwnerID       string
	// DenyReason says why the client has no access at all; NotDenied if it has
	// access.
	DenyReason DenyReason
	Grants     Grants
	Kind       ClientKind
	// ServicePrincipalID is the object ID that the tokens of an existing service
	// principal must carry (oid). It is empty for an application that is registered
	// here, which the client ID identifies.
	ServicePrincipalID string
}

// KeyState is what a gate must know of a subscription key.
type KeyState struct {
	SubscriptionID string
	Name           string
	OwnerID        string
	Scope          Scope
	Primary        bool      // which of the two keys it is
	Expires        time.Time // zero: never; the caller compares it with its own clock
	DenyReason     DenyReason
}

// DenyReason says why a client or key has no access; empty if it has access.
type DenyReason string

// The reasons.
const (
	NotDenied             DenyReason = ""
	UnknownClient         DenyReason = "client unknown"
	UnknownKey            DenyReason = "key unknown"
	OwnerBlocked          DenyReason = "owner blocked"
	ApplicationNotActive  DenyReason = "application not active"
	SubscriptionNotActive DenyReason = "subscription not active"
)
