package appaccess

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

// Snapshot is one immutable state of all products and APIs, made to be asked
// on every request. It is safe for concurrent use and must not be changed.
type Snapshot struct {
	revision Revision
	products map[string]*Product
	byAPI    map[string][]*Product
	byAud    map[string][]*Product
	apis     map[string]*API
	paths    []*API // longest path first
}

// NewSnapshot makes a snapshot. It copies neither products nor APIs: hand them
// over. An API that a product names and that is not among apis is ignored.
func NewSnapshot(revision Revision, products []Product, apis []API) *Snapshot {
	s := &Snapshot{
		revision: revision,
		products: make(map[string]*Product, len(products)),
		byAPI:    map[string][]*Product{},
		byAud:    map[string][]*Product{},
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
		for _, aud := range []string{p.Entra.AppID, p.Entra.IdentifierURI} {
			if aud != "" {
				s.byAud[aud] = append(s.byAud[aud], p)
			}
		}
	}
	return s
}

// Revision is the store's revision that the snapshot shows.
func (s *Snapshot) Revision() Revision { return s.revision }

// Product finds a product; nil if there is none.
func (s *Snapshot) Product(id string) *Product { return s.products[id] }

// API finds an API; nil if there is none.
func (s *Snapshot) API(id string) *API { return s.apis[id] }

// Products are all products, in no order.
func (s *Snapshot) Products() iter.Seq[*Product] { return maps.Values(s.products) }

// APIs are all APIs, those with the longest path first.
func (s *Snapshot) APIs() iter.Seq[*API] { return slices.Values(s.paths) }

// ProductsOf are the products that group an API.
func (s *Snapshot) ProductsOf(apiID string) []*Product { return s.byAPI[apiID] }

// KnownAudience reports whether any product, with token access on or not, has
// this audience.
func (s *Snapshot) KnownAudience(aud string) bool { return len(s.byAud[aud]) > 0 }

// Match finds the API whose path holds an URL path, by whole segments, the
// longest first; nil if there is none. The path must be clean: that is the
// caller's to check.
func (s *Snapshot) Match(path string) *API {
	for _, a := range s.paths {
		if rest, ok := strings.CutPrefix(path, strings.TrimSuffix(a.Path, "/")); ok && (rest == "" || rest[0] == '/') {
			return a
		}
	}
	return nil
}

// ClientState is what a gate needs to know of a client application.
type ClientState struct {
	ApplicationID string // ours
	AppID         string // Entra's client ID
	Name          string
	OwnerID       string
	// Refusal says why the client has no access at all: NotRefused if it has.
	Refusal Refusal
	// Products are the IDs of the products that it is granted.
	Products []string
}

// Granted reports whether the client is granted a product.
func (c *ClientState) Granted(productID string) bool {
	return slices.Contains(c.Products, productID)
}

// KeyState is what a gate needs to know of a subscription key.
type KeyState struct {
	SubscriptionID string
	Name           string
	OwnerID        string
	Scope          Scope
	Primary        bool      // which of the two keys it is
	Expires        time.Time // zero: never; the asker compares it with its own clock
	Refusal        Refusal
}

// Refusal is why a known client or key has no access. Empty: it has.
type Refusal string

// The refusals.
const (
	NotRefused            Refusal = ""
	UnknownClient         Refusal = "client unknown"
	UnknownKey            Refusal = "key unknown"
	OwnerBlocked          Refusal = "owner blocked"
	ApplicationNotActive  Refusal = "application not active"
	SubscriptionNotActive Refusal = "subscription not active"
)
