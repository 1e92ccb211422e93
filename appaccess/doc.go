// Package appaccess is the domain and the management plane: products that are
// protected by Microsoft Entra applications and app roles, client applications
// that users own, subscriptions with keys, and the catalog that a gate asks.
//
// [Service] holds every workflow and decides who may do what. It keeps what is
// wanted in a [Store] and has a [Provisioner] make Entra follow. [Catalog]
// answers the gate's questions at memory speed.
//
// Begin with [NewService] on a store of package sqlite or postgres; with package
// provision as its Provisioner for anything but subscription keys. Products as
// code are a [Document], which [Service.Import] takes. A gate that is to follow
// the store asks a [NewCatalog]; one without a store knows keys that [NewKey]
// made. Callers who have keys already keep them: see [SubscriptionRequest].
//
// An input that is refused is an [*InvalidError], an action that the state of
// things does not allow a [*ConflictError], what Entra did not follow a
// [*ProvisionError]: find them with [errors.As], the others with [errors.Is].
// [Status] gives the HTTP status of each.
package appaccess
