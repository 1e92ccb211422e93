package storetest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/appaccess/storetest"
)

// Example is the whole test of another implementation of a store.
func Example() {
	_ = func(t *testing.T) { // func TestStore(t *testing.T)
		storetest.Run(t, func(t *testing.T) appaccess.Store {
			s, err := sqlite.Open(t.Context(), sqlite.Temporary)
			require.NoError(t, err)
			return s
		})
	}
}
