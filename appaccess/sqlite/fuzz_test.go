package sqlite_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
)

var errUndo = errors.New("undone")

// A record is refused by name, or found again by everything that it is made of,
// and by the prefixes of its values.
func FuzzRecord(f *testing.F) {
	f.Add("a", "owner", "u1", "u")
	f.Add("'; DROP TABLE records; --", "\"", "%_\\", "%")
	f.Add("é\u0301", "?", "$1", "$12")
	s, err := sqlite.Open(f.Context(), sqlite.Temporary)
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, s.Close()) })
	f.Fuzz(func(t *testing.T, id, name, value, prefix string) {
		rec := appaccess.Record{Kind: kind, ID: id, Body: []byte(value),
			Index: []appaccess.IndexEntry{{Name: name, Value: value, Unique: true}}}
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			if err := w.Put(rec); err != nil {
				require.ErrorAs(t, err, new(*appaccess.InvalidError))
				require.Equal(t, rec.Validate(), err)
				return errUndo
			}
			got, err := w.Get(kind, id)
			require.NoError(t, err)
			require.Equal(t, []any{id, value, rec.Index}, []any{got.ID, string(got.Body), got.Index})
			found, err := w.List(appaccess.Query{Kind: kind, Where: rec.Index})
			require.NoError(t, err)
			require.Len(t, found, 1)
			found, err = w.Find(kind, name, []string{value, prefix})
			require.NoError(t, err)
			require.Len(t, found, 1)
			found, err = w.List(appaccess.Query{Kind: kind}.Prefix(name, prefix))
			if err != nil {
				require.ErrorAs(t, err, new(*appaccess.InvalidError))
			} else {
				rest, has := strings.CutPrefix(value, prefix)
				// Behind the prefix, the last code point is past the range.
				require.Equal(t, has && !strings.HasPrefix(rest, "\U0010ffff"), len(found) == 1, "%q in %q", prefix, value)
			}
			require.NoError(t, w.Delete(kind, id))
			found, err = w.List(appaccess.Query{Kind: kind})
			require.NoError(t, err)
			require.Empty(t, found)
			return errUndo
		})
		require.ErrorIs(t, err, errUndo)
	})
}
