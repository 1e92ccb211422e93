//go:build !race

package msgraph_test

const raceEnabled = false
