package entratest

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// Policy says what a tenant forbids, beside what every tenant forbids. The zero value
// forbids nothing more.
type Policy struct {
	// NoSecrets refuses addPassword: CredentialTypeNotAllowedAsPerAppPolicy.
	NoSecrets bool
	// MaxSecretLifetime refuses longer secrets:
	// CredentialInvalidLifetimeAsPerAppPolicy. 0: no limit.
	MaxSecretLifetime time.Duration
	// AnyURI allows App ID URIs that contain neither the tenant ID, nor the application
	// ID, nor the tenant's domain. Older tenants allow them.
	AnyURI bool
	// StrictOwnedBy refuses every list, and every object of other owners, to callers
	// whose only right is Application.ReadWrite.OwnedBy. Microsoft documents both
	// behaviours.
	StrictOwnedBy bool
	// RestoreNeedsRole refuses a restore to callers with Application.ReadWrite.OwnedBy
	// that hold no directory role. Microsoft documents both behaviours.
	RestoreNeedsRole bool
	// UpsertWithoutOwner makes objects that a PATCH creates have no owner, as users
	// reported. A caller with Application.ReadWrite.OwnedBy cannot change such an object.
	UpsertWithoutOwner bool
	// CreateWithoutOwner makes objects that a POST creates have no owner.
	CreateWithoutOwner bool
	// Quota is how many objects a caller without an administrator's rights may
	// create, soft-deleted ones included; 0: [DefaultQuota], negative: no limit.
	Quota int
	// RestoreGrants restores the assignments of a service principal together with it.
	// Users reported both behaviours of Entra.
	RestoreGrants bool
}

// DefaultQuota is Entra's limit for callers that are not administrators.
const DefaultQuota = 250

// checkURIs checks the App ID URIs that old does not have: their form, the policy, and
// whether another application, soft-deleted or not, has them.
func (t *Tenant) checkURIs(a, old *application) *graphError {
	seen := map[string]bool{}
	for _, uri := range a.IdentifierURIs {
		if seen[uri] {
			return bad("The request contains a duplicate value for property 'identifierUris'.").about("DuplicateValue", "identifierUris")
		}
		seen[uri] = true
		if old != nil && slices.Contains(old.IdentifierURIs, uri) {
			continue
		}
		if len(uri) > 255 {
			return tooLong("identifierUris", "Application")
		}
		u, err := url.Parse(uri)
		if err != nil || !slices.Contains([]string{"api", "https", "urn", "ms-appx"}, u.Scheme) || strings.HasSuffix(uri, "/") {
			return invalid("identifierUris", "Application")
		}
		if !t.cfg.Policy.AnyURI && !t.allowedURI(uri, u, a.AppID) {
			return bad("Values of identifierUris property must use a verified domain of the organization or its subdomain: '%s'.", uri).about("HostNameNotOnVerifiedDomain", "identifierUris")
		}
		if holder := t.store.byURI[uri]; holder != "" && holder != a.ID {
			return bad("Another object with the same value for property identifierUris already exists.").about("ObjectConflict", "identifierUris")
		}
	}
	return nil
}

func (t *Tenant) allowedURI(uri string, u *url.URL, appID string) bool {
	if u.Scheme == "api" && (strings.Contains(uri, appID) || strings.Contains(uri, t.cfg.TenantID)) {
		return true
	}
	host := u.Hostname()
	return host == t.domain() || strings.HasSuffix(host, "."+t.domain())
}

// checkSecret applies the tenant's app management policy to a new secret.
func (p Policy) checkSecret(start, end time.Time) *graphError {
	if p.NoSecrets {
		return bad("Credential type not allowed as per assigned policy 'DefaultPolicy'.").
			coded("CredentialTypeNotAllowedAsPerAppPolicy").about("CredentialTypeNotAllowedAsPerAppPolicy", "passwordCredentials")
	}
	if p.MaxSecretLifetime > 0 && end.Sub(start) > p.MaxSecretLifetime {
		return bad("Credential lifetime exceeds the max value allowed as per assigned policy 'DefaultPolicy'.").
			coded("CredentialInvalidLifetimeAsPerAppPolicy").about("CredentialInvalidLifetimeAsPerAppPolicy", "passwordCredentials")
	}
	return nil
}

func (e *graphError) coded(code string) *graphError {
	e.code = code
	return e
}

// SetPolicy replaces Config.Policy.
func (t *Tenant) SetPolicy(p Policy) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cfg.Policy = p
}
