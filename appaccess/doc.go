// Package appaccess is the domain and the management plane: products that are
// protected by Microsoft Entra applications and app roles, client applications
// that users own, subscriptions with keys, and the catalog that a gate asks.
//
// [Service] holds every workflow and decides who may do what. It keeps what is
// wanted in a [Store] and has a [Provisioner] make Entra follow. [Catalog]
// answers the gate's questions at memory speed.
package appaccess
