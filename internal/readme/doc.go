// Package readme holds what the README shows, so that it is compiled, and the
// test that both say the same.
package readme
