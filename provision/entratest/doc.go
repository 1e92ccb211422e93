// Package entratest is a Microsoft Entra tenant on this machine: token
// endpoint, discovery, signing keys, a sign-in page and the part of Microsoft
// Graph that provisioning needs, as difficult as the real one.
//
// [New] makes a [Tenant], which is an http.Handler. [NewServer] serves it over
// TLS and [NewPlainServer] over HTTP, both on loopback; [Tenant.Transport] reaches it
// without a network, and [Tenant.Directory] is a provision.Directory in process.
// Nothing in the package needs the testing package: programs may use it to run
// offline.
//
// # Addresses
//
// One base URL serves everything (tenant is the tenant ID):
//
//	{base}/{tenant}/oauth2/v2.0/token, /authorize, /logout
//	{base}/{tenant}/v2.0/.well-known/openid-configuration
//	{base}/{tenant}/discovery/v2.0/keys
//	{base}/common/discovery/instance
//	{base}/v1.0/...                       Microsoft Graph
//
// Issuers are {base}/{tenant}/v2.0 and, for version 1 tokens,
// {base}/sts/{tenant}/. The Graph resource is asked for as {base}/.default,
// https://graph.microsoft.com/.default or by its application ID.
//
// [Tenant.ManagedIdentityEndpoint] is a handler of its own, for IDENTITY_ENDPOINT.
//
// # Who may do what
//
// [Tenant.AddCaller] and [Tenant.AddManagedIdentity] seed identities with the
// directory roles and Graph app roles of [Rights]. Each Graph request is checked
// against them: app roles as the access token carries them, directory roles as
// they are held now. [Tenant.AddUser] seeds people, who sign in without a
// password; [App.RedirectURIs] says where to.
//
// # Misuse
//
// A request that no correct client sends is noted, and [NewServer] fails its test
// for it: Graph without an access token, a body that is not what its headers
// say, a malformed $batch, an advanced query without its header. What is merely
// refused is no misuse.
//
// # Lag
//
// With [Config.Lag] set, a change becomes visible on each replica at a time of its own
// and every read asks one replica at random, so that an object may be missing,
// old, or there and gone again. Writes find their object through a replica too,
// and then change the newest state. The token endpoint reads in the same way.
//
// # Randomness and time
//
// Time is Config.Now and every choice comes from Config.Seed: the same requests
// in the same order get the same answers, except for signing keys, which tenants
// of one process share if their tenant IDs are equal.
//
// # What it cannot vouch for
//
//   - It imitates what is documented or was reported by users. That Microsoft
//     answers alike today, in every cloud, is not shown by a test that passes here.
//   - Error texts follow Entra's; only codes and the texts that clients have
//     to tell apart are meant to be exact.
//   - Lag is bounded by Config.Lag; the real one is not. A write always lands on
//     the newest state: conflicts between replicas do not occur.
//   - Throttling is scripted or random, not a count of requests over time.
//   - Only service principals can be owners; a service principal has no
//     credentials of its own; users get roles by [Tenant.AssignUser] only.
//   - Keys of federated issuers are not fetched: [Tenant.TrustIssuer] tells them.
//   - There is no sign-in session: each authorization request asks again.
//   - Conditional access, multi-factor sign-in, consent, licences, guests, groups,
//     custom roles, administrative units, continuous access evaluation,
//     certificate revocation and proof of possession are not imitated.
//   - Refresh tokens, device code, on-behalf-of and password grants are refused.
//   - What is not imitated answers 501, never a success.
package entratest
