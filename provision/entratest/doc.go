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
//	{base}/{tenant}/oauth2/token          version 1: resource in place of scope
//	{base}/{tenant}/v2.0/.well-known/openid-configuration
//	{base}/{tenant}/discovery/v2.0/keys
//	{base}/common/discovery/instance
//	{base}/v1.0/...                       Microsoft Graph
//
// Issuers are {base}/{tenant}/v2.0 and, for version 1 tokens,
// {base}/sts/{tenant}/. The Graph resource is asked for as {base}/.default,
// https://graph.microsoft.com/.default or by its application ID. Config.BaseURL,
// STSURL and GraphURL give login, STS and Graph hosts of their own. A request
// with another Host header is refused.
//
// [Tenant.ManagedIdentityEndpoint] is a handler of its own, for IDENTITY_ENDPOINT.
//
// # Who may do what
//
// [Tenant.AddCaller] and [Tenant.AddManagedIdentity] seed identities with the
// directory roles and Graph app roles of [Rights]. Each Graph request is checked
// against the rights that the access token carries, with the right that Microsoft
// documents for the call. [Tenant.AddUser] seeds people, who sign in without a
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
// # Shapes
//
// Objects have every property of Microsoft's published metadata, with Graph's
// defaults where nothing was set. A property or operation that Graph has and that is
// not imitated answers 501, never a success; one that Graph does not have is 400.
//
// # What it cannot vouch for
//
//   - That Microsoft answers alike today, in every cloud. Requests and responses
//     agree with Microsoft's metadata, errors with documents and users' reports;
//     where these disagree, [Policy] chooses. Of error texts only codes and the
//     parts that clients compare are exact.
//   - A write lands on the newest state, so replicas never conflict. Throttling is
//     scripted or random. Keys of federated issuers are set by
//     [Tenant.TrustIssuer].
//   - Conditional access, consent, guests, groups, custom roles, owners that are
//     users, credentials of service principals, and token grants other than
//     client_credentials and authorization_code are missing.
package entratest
