// Package provision makes Microsoft Entra hold what the Service of package
// appaccess wants: applications, app roles, service principals, grants and
// credentials, whatever fails on the way.
//
// [New] makes an [Engine]. Its Plan says in words what would be done, Apply
// does it, Drift tells what others changed since. Every call may be cut off at
// any moment and made again: it goes on where it stopped, and a second Apply
// sends no write. How that is kept:
//
//   - An object is known by its uniqueName, made from the engine's Instance and
//     the object's kind and ID, and creating by it is idempotent. Nothing is
//     ever looked up by a display name, and no list of the tenant is read.
//   - Tags prove that an object is ours. Roles, identifier URIs, permissions,
//     grants, tags and credentials that others made stay as they are.
//   - What was created is recorded in the [Journal] at once, and an operation
//     that has no natural key (adding a secret) before it is sent. The journal
//     also leases objects, so that two replicas never work on one at once.
//   - A missing object is believed to be missing only after several reads, or
//     after [Config.LagBudget] if it was written a moment ago.
//   - Recovery goes forward only; nothing is deleted to undo a failure.
//
// What it does not do: it does not watch the tenant (call Drift or Apply from
// time to time), it does not delete for good (Entra keeps what was removed for
// 30 days, and an object wanted again is restored), and it cannot bring back a
// credential that somebody removed, since only its taker can ask for a new one.
package provision

import "github.com/entragate/entragate/appaccess"

// Secret is a value that never prints.
type Secret = appaccess.Secret
