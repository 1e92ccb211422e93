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
// and a text only where it is contained.
func FuzzRecord(f *testing.F) {
	f.Add("a", "owner", "u1", "Some text", "SOME")
	f.Add("'; DROP TABLE records; --", "\"", "%_\\", "100%", "%")
	f.Add("é\u0301", "?", "$1", "İß", "i")
	s, err := sqlite.Open(f.Context(), sqlite.Temporary)
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, s.Close()) })
	f.Fuzz(func(t *testing.T, id, name, value, text, part string) {
		rec := appaccess.Record{Kind: kind, ID: id, Body: []byte(value), Text: text,
			Index: []appaccess.IndexEntry{{Name: name, Value: value, Unique: true}}}
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			if err := w.Put(rec); err != nil {
				require.ErrorAs(t, err, new(*appaccess.InvalidError))
				require.Equal(t, rec.Validate(), err)
				return errUndo
			}
			got, err := w.Get(kind, id)
			require.NoError(t, err)
			require.Equal(t, []any{id, value, text, rec.Index}, []any{got.ID, string(got.Body), got.Text, got.Index})
			found, err := w.List(appaccess.Query{Kind: kind, Index: name, Value: value})
			require.NoError(t, err)
			require.Len(t, found, 1)
			found, err = w.List(appaccess.Query{Kind: kind, Text: part})
			if err != nil {
				require.ErrorAs(t, err, new(*appaccess.InvalidError))
			} else {
				require.Equal(t, strings.Contains(lower(text), lower(part)), len(found) == 1, "%q in %q", part, text)
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

// lower folds ASCII only.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
