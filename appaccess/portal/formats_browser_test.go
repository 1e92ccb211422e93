package portal_test

import (
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// Numbers and times have the format of the reader's browser, and times its zone.
func TestNumbersAndTimesHaveTheReadersFormat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	one := w.application("shop", "ada")
	catalog, err := appaccess.NewCatalog(t.Context(), appaccess.CatalogConfig{Store: w.store})
	require.NoError(t, err)
	for range 1234 {
		catalog.CountCall(appaccess.Call{ClientID: one.Entra.AppID, API: "orders-api", Time: w.clock.Now()})
	}
	require.NoError(t, catalog.Close()) // writes what it counted
	w.serve()
	w.clock.Set(time.Now())
	for locale, expected := range map[string]string{"de-DE": "1.234", "en-US": "1,234", "fr-CH": "1\u202f234"} {
		b := w.open(t, "manager")
		send(b, emulation.SetLocaleOverride, emulation.SetLocaleOverrideParams{Locale: locale})
		send(b, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Tokyo"})
		b.visit("/usage")
		assert.Contains(t, b.text("main"), expected, locale)
		b.visit("/applications/shop")
		shown := eval[[]bool](b, `[...document.querySelectorAll("time[data-time]")].map(e => e.title.includes("UTC") && e.textContent !== "")`)
		assert.NotEmpty(t, shown, locale)
		assert.NotContains(t, shown, false, locale)
		created := eval[string](b, `document.querySelector("main time[data-time]").textContent`)
		in := eval[string](b, `new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeZone: "Asia/Tokyo"}).format(new Date(document.querySelector("main time[data-time]").dateTime))`)
		assert.Contains(t, created, in, locale)
	}
}
