//go:build !race

package middleware_test

// raceEnabled leaves out what the race detector falsifies.
const raceEnabled = false
