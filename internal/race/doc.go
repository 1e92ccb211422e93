// Package race says whether the race detector is compiled in. Tests use it to leave
// out what the detector falsifies (counts of allocations), what it makes
// slow without finding more (long sweeps), and what runs in another process (a
// browser).
package race
