// Package readme holds the code that the pages show, so that it is compiled, and
// tests that the pages are true: snippets, commands, claims, links and the names of
// metrics.
package readme
