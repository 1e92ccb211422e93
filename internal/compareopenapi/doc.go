// Package compareopenapi holds tests that compare package openapi with
// kin-openapi. It is a module of its own so that no user compiles kin-openapi.
package compareopenapi
