package appaccess_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/provision/entratest"
)

func TestImportAdoptsTheApplicationsThatTheDocumentNames(t *testing.T) {
	t.Parallel()
	e := newEstate(t, entratest.Lag{})
	product, err := e.tenant.AddApplication(entratest.App{Name: "Gold of before", Roles: []string{"Their.Own"}})
	require.NoError(t, err)
	client, err := e.tenant.AddApplication(entratest.App{Name: "Billing of before"})
	require.NoError(t, err)

	d := parse(t, sampleDocument)
	d.Products[0].Adopt, d.Applications[0].Adopt = product.AppID, client.AppID
	_, err = e.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	p, err := e.Product(ctx, boss, "gold")
	require.NoError(t, err)
	assert.Equal(t, product.AppID, p.Entra.AppID)
	a, err := e.Application(ctx, boss, "billing")
	require.NoError(t, err)
	assert.Equal(t, client.AppID, a.Entra.AppID)

	report, err := e.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Empty(t, report.Differences, "adoption happens once")

	exported, err := exported(e.Service)
	require.NoError(t, err)
	for _, p := range exported.Products {
		assert.Empty(t, p.Adopt)
	}
}

func TestImportRefusesToAdoptWhatCannotBe(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	d := parse(t, sampleDocument)
	d.Applications[0].Adopt = "billing"
	_, err := h.Import(ctx, boss, d, appaccess.ImportRequest{})
	var invalid *appaccess.InvalidError
	require.ErrorAs(t, err, &invalid)
	assert.Equal(t, "applications[0].adopt", invalid.Field)

	d = parse(t, sampleDocument)
	d.Products[0].Adopt, d.Products[0].Access = "00001111-aaaa-2222-bbbb-3333cccc4444", appaccess.Access{Key: true}
	_, err = h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.ErrorAs(t, err, &invalid)
	assert.Equal(t, "products[0].adopt", invalid.Field)
}
