// Package appaccess is the domain and the management plane: products that are
// protected by Microsoft Entra applications and app roles, client applications
// that users own, subscriptions with keys, and the catalog that a gate asks.
//
// [Service] holds every workflow and decides who may do what. It stores the desired
// state in a [Store], and its [Provisioner] makes Entra match that state. [Catalog]
// answers the gate's questions at memory speed.
//
// Begin with [NewService]. Its store comes from package sqlite or postgres. For
// anything but subscription keys it also needs a Provisioner, which package provision
// implements. [Service.Import] takes products as code, a [Document]. A gate that
// follows the store asks a [Catalog]; a gate without a store accepts keys that
// [NewKey] made. Callers can keep the keys that they have: see [SubscriptionRequest].
//
// An invalid input is an [*InvalidError]. An action that the present state does not
// allow is a [*ConflictError]. A change that is stored but not yet made in Entra is a
// [*ProvisionError]. Test for these with [errors.As], and for [ErrNotFound],
// [ErrForbidden] and [ErrUnavailable] with [errors.Is]. [Status] gives the HTTP
// status of each.
package appaccess
