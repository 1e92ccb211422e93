package entratest

import "time"

// Policy is what a tenant forbids. The zero value forbids nothing but what
// every tenant does.
type Policy struct {
	// NoSecrets refuses addPassword: CredentialTypeNotAllowedAsPerAppPolicy.
	NoSecrets bool
	// MaxSecretLifetime refuses longer secrets:
	// CredentialInvalidLifetimeAsPerAppPolicy. 0: no limit.
	MaxSecretLifetime time.Duration
	// AnyURI allows App ID URIs without the tenant ID, the application ID or
	// the tenant's domain in them, as older tenants do.
	AnyURI bool
	// StrictOwnedBy refuses callers with Application.ReadWrite.OwnedBy alone
	// every list, every object that they do not own and deleted items.
	StrictOwnedBy bool
	// RestoreGrants brings back, with a restored service principal, the
	// assignments that went with it. Both is reported of Entra.
	RestoreGrants bool
}
