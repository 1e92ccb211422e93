// Package openapi reads OpenAPI documents of versions 3.0, 3.1 and 3.2, in JSON
// or YAML, that may come from anybody.
//
// [Read] works in two steps. The guard turns the bytes into a tree of plain JSON
// values and refuses what could make a reader slow or ambiguous: more than
// [MaxSize] bytes, 100,000 values or 64 levels; duplicate names; YAML anchors,
// aliases, merge keys and tags; more than one YAML document; a $ref that leaves
// the document, that points to nothing, or that is part of a circle of
// references. Then the reader takes the operations, their parameters, bodies
// and security from the tree. It is case-sensitive, and a field of a wrong type
// is an error that names the place. What it does not understand is listed in
// [Document.Notes].
//
// Nothing in this package sends a request or opens a file. It resolves the $ref
// of a path item, a parameter, a body, a response and a security scheme; a
// schema that refers to another one is shown as a link, never expanded.
//
// Read does NOT check that schemas, examples or media types are valid, and the
// gate does not check a request's parameters or body against them.
//
// A management plane hands [Import] to the Service:
//
//	appaccess.ServiceConfig{ReadOpenAPI: openapi.Import, ...}
package openapi
