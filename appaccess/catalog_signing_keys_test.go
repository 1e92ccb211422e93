package appaccess_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

func TestCatalogRemembersTheNewestSigningKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{})
		ctx, now := t.Context(), time.Now()
		keys := func(url string, fetched time.Time, kid string) appaccess.SigningKeys {
			return appaccess.SigningKeys{URL: url, Fetched: fetched, Keys: json.RawMessage(`{"keys":[{"kid":"` + kid + `"}]}`)}
		}
		remembered := func(url string) string {
			k, err := w.catalog.SigningKeys(ctx, url)
			require.NoError(t, err)
			return string(k.Keys)
		}
		const one, other = "https://login.test/one/keys", "https://login.test/other/keys"
		_, err := w.catalog.SigningKeys(ctx, one)
		require.ErrorIs(t, err, appaccess.ErrNotFound)

		require.NoError(t, w.catalog.RememberSigningKeys(ctx, keys(one, now, "a")))
		require.NoError(t, w.catalog.RememberSigningKeys(ctx, keys(other, now.Add(-6*24*time.Hour), "z")))
		before := w.revision()
		require.NoError(t, w.catalog.RememberSigningKeys(ctx, keys(one, now.Add(-time.Hour), "old")))
		assert.Equal(t, before, w.revision(), "older keys are not written")
		assert.Contains(t, remembered(one), `"a"`)
		require.NoError(t, w.catalog.RememberSigningKeys(ctx, keys(one, now.Add(time.Hour), "ahead")))
		require.NoError(t, w.catalog.RememberSigningKeys(ctx, keys(one, now, "b")))
		assert.Contains(t, remembered(one), `"b"`, "a clock that is ahead by an hour does not win")
		assert.Contains(t, remembered(other), `"z"`)

		const unused = "https://login.test/unused/keys"
		require.NoError(t, w.catalog.RememberSigningKeys(ctx, keys(unused, now.Add(-8*24*time.Hour), "y")))
		require.NoError(t, w.catalog.RememberSigningKeys(ctx, keys(one, now.Add(time.Second), "c")))
		assert.Contains(t, remembered(other), `"z"`)
		_, err = w.catalog.SigningKeys(ctx, unused)
		assert.ErrorIs(t, err, appaccess.ErrNotFound, "keys that nobody fetches are deleted after a week")

		w.store.set(func(s *moodyStore) { s.fail = errReach })
		_, err = w.catalog.SigningKeys(ctx, one)
		assert.ErrorIs(t, err, appaccess.ErrUnavailable)
		assert.Error(t, w.catalog.RememberSigningKeys(ctx, keys(one, now.Add(2*time.Second), "d")))
	})
}

func TestCatalogThatWritesNothingRemembersNoSigningKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, appaccess.CatalogConfig{UsageInterval: -1})
	before := w.revision()
	require.NoError(t, w.catalog.RememberSigningKeys(t.Context(), appaccess.SigningKeys{URL: "https://login.test/keys", Fetched: time.Now(), Keys: json.RawMessage(`{}`)}))
	assert.Equal(t, before, w.revision())
}
