//go:build race

package msgraph_test

const raceEnabled = true
