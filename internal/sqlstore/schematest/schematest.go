// Package schematest tests how programs that know different versions of a schema
// share one SQL store.
package schematest

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// Opener opens a kind of store.
type Opener struct {
	// Name returns the name of a new, empty store.
	Name func(*testing.T) string
	// Open opens a store as this program does.
	Open func(ctx context.Context, name string) (appaccess.Store, error)
	// OpenNewer opens it as a program that knows one version more. From that
	// version on a program must know the version oldest; 0: any.
	OpenNewer func(ctx context.Context, name string, oldest int) (appaccess.Store, error)
	// Version is the version of the schema that this program knows.
	Version int
}

// Run tests an upgrade that older programs may ignore, and one that they may not.
func Run(t *testing.T, o Opener) {
	t.Helper()
	t.Run("an upgrade that only adds leaves older programs working", func(t *testing.T) {
		t.Parallel()
		name := o.Name(t)
		older := opened(t)(o.Open(t.Context(), name))
		put(t, older, "before")
		newer := opened(t)(o.OpenNewer(t.Context(), name, 0))
		put(t, newer, "newer")
		put(t, older, "older")
		again := opened(t)(o.Open(t.Context(), name)) // a downgrade
		for _, s := range []appaccess.Store{older, newer, again} {
			for _, id := range []string{"before", "newer", "older"} {
				assert.NoError(t, get(t.Context(), s, id))
			}
		}
	})
	t.Run("an upgrade that changes something is the end of older programs", func(t *testing.T) {
		t.Parallel()
		name := o.Name(t)
		older := opened(t)(o.Open(t.Context(), name))
		put(t, older, "before")
		newer := opened(t)(o.OpenNewer(t.Context(), name, o.Version+1))
		refused := func(err error) {
			t.Helper()
			require.ErrorContains(t, err, fmt.Sprintf("its schema needs a program that knows version %d, this one knows version %d", o.Version+1, o.Version))
			require.NotErrorIs(t, err, appaccess.ErrUnavailable, "waiting does not help")
		}
		_, err := older.Update(t.Context(), func(appaccess.Writer) error { t.Error("an older program wrote"); return nil })
		refused(err)
		refused(get(t.Context(), older, "before"))
		for _, err := range older.Changes(t.Context(), appaccess.Position{}) {
			refused(err)
		}
		_, err = o.Open(t.Context(), name)
		refused(err)
		put(t, newer, "after")
	})
}

// opened closes a store at the end of the test.
func opened(t *testing.T) func(appaccess.Store, error) appaccess.Store {
	t.Helper()
	return func(s appaccess.Store, err error) appaccess.Store {
		t.Helper()
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, s.Close()) })
		return s
	}
}

const kind = appaccess.Kind("thing")

func put(t *testing.T, s appaccess.Store, id string) {
	t.Helper()
	_, err := s.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(appaccess.Record{Kind: kind, ID: id}) })
	require.NoError(t, err)
}

func get(ctx context.Context, s appaccess.Store, id string) error {
	return s.View(ctx, func(r appaccess.Reader) error {
		_, err := r.Get(kind, id)
		return err
	})
}
