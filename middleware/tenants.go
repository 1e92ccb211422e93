package middleware

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/entragate/entragate/internal/cloud"
)

// Tenant is a tenant whose tokens a gate accepts, with its cloud or hosts.
type Tenant struct {
	// ID is the tenant's GUID.
	ID string
	// Cloud, Authority and STS mean what they mean in [Config].
	Cloud     string
	Authority string
	STS       string
	// Issuer is the iss of the tenant's tokens if it cannot be derived from the host,
	// as for an External ID tenant with a custom domain. Version 1 tokens are then
	// refused. Leave it empty in all other cases.
	Issuer string
}

// resolve checks a tenant and finds its hosts. The error begins with the field
// that is wrong.
func (t *Tenant) resolve() (cloud.Hosts, error) {
	if !cloud.IsGUID(t.ID) {
		return cloud.Hosts{}, fmt.Errorf("%q is not a tenant ID (a GUID): a token's tid and iss carry no domain name", t.ID)
	}
	hosts, err := cloud.Resolve(t.Cloud, t.Authority, t.ID)
	if err != nil {
		return hosts, err
	}
	if t.STS != "" {
		if err := cloud.CheckURL("STS", t.STS); err != nil {
			return hosts, err
		}
		hosts.STS = strings.TrimSuffix(t.STS, "/")
	}
	if t.Issuer != "" {
		if err := cloud.CheckURL("Issuer", t.Issuer); err != nil {
			return hosts, err
		}
		if t.STS != "" {
			return hosts, errors.New("STS: excludes Issuer")
		}
		hosts.STS = ""
	}
	return hosts, nil
}

// tenant is an accepted tenant, with its issuers and keys.
type tenant struct {
	id                 string
	issuerV1, issuerV2 string // V1 is empty where version 1 tokens are refused
	keys               *keySource
	own                map[string]*keySource // by audience, for products with OwnKeys
	removed            atomic.Bool
	stop               context.CancelFunc
	stopped            chan struct{} // closed when the key sources have stopped
}

// source returns the key source for a token with these audiences.
func (tn *tenant) source(aud []string) *keySource {
	for _, a := range aud {
		if s := tn.own[a]; s != nil {
			return s
		}
	}
	return tn.keys
}

// sources returns all key sources of a tenant, the tenant's own first.
func (tn *tenant) sources() []*keySource {
	all := []*keySource{tn.keys}
	for _, s := range tn.own {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// had reports whether the keys of all the tenant's sources were read at least once.
func (tn *tenant) had() bool {
	return !slices.ContainsFunc(tn.sources(), func(s *keySource) bool { return s.set.Load() == nil })
}

// ready waits for the keys, or returns why there are none.
func (tn *tenant) ready(ctx context.Context) error {
	for _, s := range tn.sources() {
		if err := s.ready(ctx); err != nil {
			return fmt.Errorf("middleware: tenant %s: %w", tn.id, err)
		}
	}
	return nil
}

// issuer is the tenant and the token version of an iss claim.
type issuer struct {
	tenant *tenant
	ver    string
}

// trust is the set of accepted tenants. It is immutable.
type trust struct {
	tenants []*tenant
	issuers map[string]issuer
	list    string // the issuers, for records
}

// newTrust makes a trust of tenants. It keeps the tenant and the keys of an older trust
// for a tenant that has not changed. old may be nil.
func newTrust(tenants []Tenant, c *Config, old *trust) (*trust, error) {
	tr := &trust{issuers: map[string]issuer{}}
	var list []string
	for _, t := range tenants {
		hosts, err := t.resolve()
		if err != nil {
			return nil, err
		}
		id := strings.ToLower(t.ID)
		v1, v2 := "", hosts.IssuerV2(id)
		if hosts.STS != "" {
			v1 = hosts.IssuerV1(id)
		}
		if t.Issuer != "" {
			v2 = t.Issuer
		}
		if tr.issuers[v2].tenant != nil || v1 != "" && tr.issuers[v1].tenant != nil {
			return nil, fmt.Errorf("%s is named twice", t.ID)
		}
		tn := old.tenant(v1, v2, hosts.KeysURL(id))
		if tn == nil {
			tn = &tenant{id: id, issuerV1: v1, issuerV2: v2, keys: newKeySource(hosts.KeysURL(id), c), stopped: make(chan struct{})}
			tn.addOwnKeys(hosts, c)
		}
		tr.tenants = append(tr.tenants, tn)
		tr.issuers[v2] = issuer{tn, "2.0"}
		list = append(list, v2)
		if v1 != "" {
			tr.issuers[v1] = issuer{tn, "1.0"}
			list = append(list, v1)
		}
	}
	tr.list = anyOf(list)
	return tr, nil
}

// tenant finds a tenant with these issuers and this key endpoint; nil if there is none.
func (tr *trust) tenant(issuerV1, issuerV2, keysURL string) *tenant {
	if tr == nil {
		return nil
	}
	tn := tr.issuers[issuerV2].tenant
	if tn == nil || tn.issuerV1 != issuerV1 || tn.issuerV2 != issuerV2 || tn.keys.url != keysURL {
		return nil
	}
	return tn
}

// addOwnKeys adds a key source for each product with OwnKeys:
// https://learn.microsoft.com/entra/identity-platform/claims-validation.
func (tn *tenant) addOwnKeys(hosts cloud.Hosts, c *Config) {
	for i := range c.Products {
		p := &c.Products[i]
		if !p.OwnKeys {
			continue
		}
		s := newKeySource(hosts.KeysURL(tn.id)+"?appid="+p.applicationID(), c)
		if tn.own == nil {
			tn.own = map[string]*keySource{}
		}
		for _, aud := range p.Audiences {
			tn.own[aud] = s
		}
	}
}

// applicationID returns the client ID in a product's audiences; empty if there is none.
func (p *Product) applicationID() string {
	for _, aud := range p.Audiences {
		if id := strings.TrimPrefix(aud, "api://"); cloud.IsGUID(id) {
			return strings.ToLower(id)
		}
	}
	return ""
}

// SetTenants replaces all tenants whose tokens the gate accepts, including the tenants of
// Config, while requests are served. Tokens of a removed tenant are refused when
// SetTenants returns, and their open responses end as after a revocation (see
// [CancelPolicy]). A tenant that stays keeps its keys. The keys of a new tenant are
// fetched in the background; [Gate.Ready] can wait for them.
//
// An error names the field that is wrong, or says that the gate is closed; nothing has
// changed then. SetTenants is safe for concurrent use: calls run one after the other.
func (g *Gate) SetTenants(tenants []Tenant) error {
	g.tenants.Lock()
	defer g.tenants.Unlock()
	if g.closed {
		return errors.New("middleware: SetTenants: the gate is closed")
	}
	old := g.verifier.trust.Load()
	tr, err := newTrust(tenants, &g.cfg, old)
	if err != nil {
		return fmt.Errorf("middleware: SetTenants: %w", err)
	}
	for _, tn := range tr.tenants {
		if !slices.Contains(old.tenants, tn) {
			g.start(tn)
		}
	}
	g.verifier.trust.Store(tr)
	for _, tn := range old.tenants {
		if !slices.Contains(tr.tenants, tn) {
			tn.removed.Store(true) // tokens in the cache are refused, too
			tn.stop()
			<-tn.stopped
		}
	}
	g.watcher.askAll()
	return nil
}

// ready waits until every tenant that once had keys has usable keys, and at least one
// tenant has.
func (tr *trust) ready(ctx context.Context) error {
	var never []error
	for _, tn := range tr.tenants {
		err := tn.ready(ctx)
		if err != nil && tn.had() {
			return err
		}
		if err != nil {
			never = append(never, err)
		}
	}
	if len(never) < len(tr.tenants) {
		return nil
	}
	return errors.Join(never...)
}

// allTenants are the tenants of the configuration.
func (c *Config) allTenants() []Tenant {
	all := make([]Tenant, 0, len(c.Tenants)+len(c.MoreTenants))
	for _, id := range c.Tenants {
		all = append(all, Tenant{ID: id, Cloud: c.Cloud, Authority: c.Authority, STS: c.STS})
	}
	return append(all, c.MoreTenants...)
}
