// Package provision makes Microsoft Entra match the desired state that the
// Service of package appaccess stores: applications, app roles, service
// principals, grants and credentials.
//
// [New] makes a [Reconciler]. Plan says what would be done, Apply does it, Drift
// reports what others have changed. A call may be interrupted at any moment and
// made again. A second Apply of a tenant that is in sync writes nothing.
//
// # One object
//
// A caller passes names of objects. It may add their records as it has just read
// them, which saves the read without a lock. For each object the reconciler does this:
//
//	read without a lock --- nothing to do ---> done
//	      | a step is missing
//	      v
//	lock, and read again: desired state, provisioning state, Entra
//	      |
//	      v
//	first missing step ---> take it ---> next missing step ... none is left
//	      | it failed                           |
//	      v                                     v
//	record the failure, unlock         record the outcome, unlock
//
// The record of an object is one transaction: provisioning state, the Service's
// record and the release of the lock. An object is in sync if its record's
// Revision is still the one that was read under the lock. Otherwise it stays
// pending, and the next call reconciles it.
//
// # What is ours
//
// Anybody in the tenant can compute our unique names and copy our tags, so
// neither proves that we made an application. An application is ours if its
// object ID is recorded, or if it carries the recorded nonce or a valid HMAC tag
// (see proof.go). Applications are created by POST and written by object ID. An
// application that is not ours is never written: the call fails with a
// [NotOursError]. Roles, identifier URIs, permissions, grants, tags and
// credentials that others made stay.
//
// The key of the HMAC tags lies in the store in clear. The key alone opens
// nothing: Entra and the gate do not accept it, and it does not decrypt one-time
// secrets. A person who reads it and may register applications in the tenant can
// sign an application of their own. If its unique name is that of an object whose
// application is not recorded yet, the reconciler takes the application for ours,
// grants it what is desired, and leaves the secrets that the person added to it.
// An object whose object ID is recorded is safe from that while its application
// exists, and an application that the person may not write cannot be signed. The key
// of a store that is in use cannot be replaced: every application would have to be
// signed again. So protect the store and its backups like a credential.
//
// # States
//
// The first step that is missing depends on three things: what is recorded, what
// Entra shows, and what is desired. "Not ours" means that nothing proves that we
// made the application.
//
//	recorded               Entra shows                          desired    step
//
//	An application
//	nothing                no application                       exists     create
//	nothing                an application that is not ours      exists     NotOursError
//	nothing                an application that is not ours      deleted    none
//	nothing                ours, with an unrecorded secret      exists     remove the secret
//	nothing                no application                       adopted    ErrNotFound
//	nothing                an application that nobody manages   adopted    adopt
//	object ID              no application                       exists     create
//	object ID              a soft-deleted application           exists     restore
//	object ID              no service principal                 exists     create
//	object ID              another name or description          exists     change
//	object ID              the desired application              exists     none
//	object ID              signed with another key              exists     NotOursError
//	object ID              an application                       deleted    remove
//	removed                a soft-deleted application           exists     restore
//	removed                a soft-deleted application           deleted    none
//	removed                the application again                deleted    remove
//
//	A grant
//	nothing                no grant                             granted    grant
//	nothing                a grant of others                    nothing    none
//	granted                a grant                              granted    none
//	granted                no grant                             granted    grant
//	granted                a grant                              nothing    revoke
//	granted                no grant                             nothing    revoke by the recorded ID
//	revoking               no grant                             nothing    none
//	revoking               the grant again                      nothing    revoke
//	revoking               no grant                             granted    grant
//
//	A credential
//	nothing                a secret of others                   exists     none
//	delivered              a secret                             exists     none
//	delivered              no secret                            exists     none
//	pending                a secret                             exists     remove
//	revoking               the secret again                     exists     remove
//
//	An existing service principal
//	nothing                the service principal                granted    grant
//	nothing                no service principal                 granted    PrincipalMissingError
//	nothing                another client ID                    granted    ConflictError
//
// A client's API permissions change together with its grants: a step "change"
// comes before the first grant and after the last revocation.
//
// A pending credential was requested from Graph and not delivered. A delivered
// secret that is missing has no step, because nobody can restore its value: Apply
// and Drift report it. An application that was adopted is not removed but
// released: its former properties are restored. Two objects never adopt the same
// application: the store refuses the second. If the unique name of an
// application to create is reserved by a soft-deleted application of ours, that
// one is restored.
//
// Until Config.LagBudget has passed since the last write, a replica may show an
// older state. Two states are then read again, and not believed before the time
// has passed:
//
//	missing   a recorded object does not show: read four times in any case
//	stale     what shows contradicts what is recorded: a revoked grant, a pending
//	          credential or a new application does not show, or a removed one does
//
// If the desired state was changed in this time, the read may agree by chance with
// what is now desired. The reconciler then writes its properties and grants again
// (rewrite), whatever the read shows.
//
// # Revocations
//
// A revoked grant, a removed credential and a deleted object stay in the
// provisioning state until reads confirm that they are gone: three reads over 15
// minutes after a DELETE that succeeded, four times as long without one. "Not
// found" alone proves nothing. What appears again is deleted again. The gate
// refuses access from the first moment; it does not wait for Entra.
//
// # Telemetry
//
// Metrics of Config.MeterProvider, with their units and attributes:
//
//	entragate.provision.objects          {object}  entragate.kind, entragate.outcome (ok or failed): objects that were
//	                                               locked and reconciled; those that needed nothing are not counted
//	entragate.provision.object.duration  s         the same
//	entragate.provision.steps            {step}    entragate.action, entragate.outcome: changes in Entra
//
// Config.TracerProvider gets one span for each object that is reconciled,
// entragate.provision.object with the attribute entragate.object and an event
// entragate.provision.step for each step.
//
// Records of Config.Logger:
//
//	written to Entra               INFO  object, action, detail
//	object not in sync with Entra  WARN  object, error
//
// # What it does not do
//
// It does not watch the tenant: call Drift or Apply from time to time, or use
// Service.Run. It does not delete for good: Entra keeps what was removed for 30
// days. It cannot restore the value of a credential that somebody removed: its
// owner asks for a new one.
package provision

import "github.com/entragate/entragate/appaccess"

// Secret is a value that never prints.
type Secret = appaccess.Secret
