// Package gatetest helps to test whether a service checks credentials correctly.
// [Unguarded] finds routes whose handlers run without a credential. [Attacks] sends
// forged, expired and revoked access tokens and subscription keys, and compares the
// answers.
//
// Both work with any handler, with and without package middleware. Unguarded needs
// only the handler. For Attacks, start a tenant of package entratest, let the service
// under test read its signing keys from it, and describe the service in a [Target].
// The package does not import the testing package.
package gatetest
