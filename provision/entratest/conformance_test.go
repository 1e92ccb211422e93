package entratest_test

import (
	"testing"

	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/directorytest"
	"github.com/entragate/entragate/provision/entratest"
)

func TestDirectory(t *testing.T) {
	t.Parallel()
	directorytest.Run(t, func(_ *testing.T, s *entratest.Server, c entratest.Caller) provision.Directory {
		return s.Directory(c)
	})
}
