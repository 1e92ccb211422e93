package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The table has every library, each of which let a genuine token pass and
// refused a forged one.
func TestTable(t *testing.T) {
	var out strings.Builder
	require.NoError(t, table(&out, 2))
	for _, l := range libraries {
		assert.Contains(t, out.String(), "| "+l.name+" |")
	}
	assert.Contains(t, out.String(), "| crypto/rsa alone |")
}
