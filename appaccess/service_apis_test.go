package appaccess_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// Who allows encoded slashes can say so by the Service and by a document, and take
// it back.
func TestAPIsAllowEncodedSlashes(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	made, err := h.CreateAPI(ctx, boss, appaccess.APIRequest{ID: "repos", Name: "Repos", Path: "/repos", AllowEncodedSlash: true})
	require.NoError(t, err)
	assert.True(t, made.AllowEncodedSlash)

	d, err := exported(h.Service)
	require.NoError(t, err)
	other := newFixture(t)
	_, err = other.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	same, err := other.API(ctx, boss, "repos")
	require.NoError(t, err)
	assert.True(t, same.AllowEncodedSlash)

	no, description := false, "of git"
	a, err := h.UpdateAPI(ctx, boss, "repos", appaccess.APIUpdate{Description: &description})
	require.NoError(t, err)
	assert.True(t, a.AllowEncodedSlash, "an update changes what it names")
	a, err = h.UpdateAPI(ctx, boss, "repos", appaccess.APIUpdate{AllowEncodedSlash: &no})
	require.NoError(t, err)
	assert.False(t, a.AllowEncodedSlash)
}

// A gate refuses paths that differ from an API's by letter case only, so that two
// such APIs would shut each other out.
func TestAPIPathsDifferByMoreThanLetterCase(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	a, err := h.CreateAPI(ctx, boss, appaccess.APIRequest{Name: "Repos", Path: "/repos"})
	require.NoError(t, err)
	_, err = h.CreateAPI(ctx, boss, appaccess.APIRequest{Name: "Others", Path: "/Repos"})
	var conflict *appaccess.ConflictError
	require.ErrorAs(t, err, &conflict)
	assert.Equal(t, "path", conflict.Field)

	b, err := h.CreateAPI(ctx, boss, appaccess.APIRequest{Name: "Others", Path: "/others"})
	require.NoError(t, err)
	path := "/REPOS"
	_, err = h.UpdateAPI(ctx, boss, b.ID, appaccess.APIUpdate{Path: &path})
	require.ErrorAs(t, err, &conflict)
	a, err = h.UpdateAPI(ctx, boss, a.ID, appaccess.APIUpdate{Path: &path})
	require.NoError(t, err, "an API may change the case of its own path")
	assert.Equal(t, path, a.Path)
}
