//go:build !race

package provision_test

// raceEnabled shortens what the race detector makes slow.
const raceEnabled = false
