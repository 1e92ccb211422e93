package portal_test

import (
	"strings"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// asItIs leaves the texts of a sample alone.
func asItIs(text string) string { return text }

// torture are texts that people store and that break pages: long words,
// right-to-left, emoji with joiners, CJK, markup.
var torture = []string{
	"Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaftsabteilungsleitervertretung",
	"مرحبا بالعالم (abc) 123", "👩‍👩‍👧‍👦 family 🏳️‍🌈", "注文管理サービス在庫確認請求書発行物流連携決済処理顧客管理分析基盤", `"><img src=x onerror=alert(1)>{{.}}&amp;`,
}

// tortured puts all torture texts behind a text of a sample.
func tortured(text string) string { return text + " " + strings.Join(torture, " ") }

// roleName is a text that may name a product with token access: the name of its
// role in Entra is made of it.
func roleName(text string) string {
	return clipped(strings.Map(func(r rune) rune {
		if r == ' ' || r < 0x80 && unicode.IsLetter(r) {
			return r
		}
		return -1
	}, text))
}

// clipped is a text as long as the name of a credential may be.
func clipped(text string) string {
	runes := []rune(text)
	return strings.TrimSpace(string(runes[:min(len(runes), 80)]))
}

// sample seeds what a real organisation might have. text makes each name,
// description and reason that people enter.
func (w *world) sample(text func(string) string) ids {
	w.t.Helper()
	ctx := w.t.Context()
	w.ordersNamed(text)
	for _, id := range []string{"ada", "blaise"} {
		one, err := w.service.User(ctx, root, id)
		require.NoError(w.t, err)
		name := text(one.Name)
		_, err = w.service.UpdateUser(ctx, root, id, appaccess.UserUpdate{Name: &name})
		require.NoError(w.t, err)
	}
	for _, a := range []appaccess.APIRequest{
		{ID: "stock-api", Name: text("Stock API"), Path: "/stock", Description: text("What lies in which warehouse."), ServiceURL: "https://stock.contoso.example/stock"},
		{ID: "invoices-api", Name: text("Invoices API"), Path: "/invoices", Description: text("Invoices and reminders.")},
	} {
		_, err := w.service.CreateAPI(ctx, root, a)
		require.NoError(w.t, err)
	}
	for _, p := range []appaccess.ProductRequest{
		{ID: "logistics", Name: roleName(text("Logistics")), Description: text("Stock and shipping for partners."), APIs: []string{"stock-api"}, Access: appaccess.Access{Token: true}, Published: true},
		{ID: "finance", Name: roleName(text("Finance")), Description: text("Invoices, for the finance department."), APIs: []string{"invoices-api"}, Access: appaccess.Access{Token: true, Key: true}},
		{ID: "partners", Name: text("Partners"), Description: text("Prices for partners."), APIs: []string{"stock-api"}, Access: appaccess.Access{Key: true}, Published: true},
	} {
		_, err := w.service.CreateProduct(ctx, root, p)
		require.NoError(w.t, err)
	}
	for id, name := range map[string]string{"emmy": "Emmy Noether", "alan": "Alan Turing", "katherine": "Katherine Johnson"} {
		_, err := w.service.CreateUser(ctx, root, appaccess.UserRequest{ID: id, Name: text(name), Email: id + "@contoso.example"})
		require.NoError(w.t, err)
	}
	shop, err := w.service.RegisterApplication(ctx, root, appaccess.ApplicationRequest{
		ID: "web-shop", Name: text("Web shop"), OwnerID: "ada", Grants: appaccess.GrantsOfAll("orders", "logistics"), Description: text("Takes orders and shows what is in stock."),
	})
	require.NoError(w.t, err)
	for id, name := range map[string]string{"warehouse": "Warehouse robots", "reports": "Monthly reports"} {
		_, err := w.service.RegisterApplication(ctx, root, appaccess.ApplicationRequest{ID: id, Name: text(name), OwnerID: map[string]string{"warehouse": "emmy", "reports": "blaise"}[id], Grants: appaccess.GrantsOfAll("logistics")})
		require.NoError(w.t, err)
	}
	cred, err := w.service.AddSecret(ctx, root, shop.ID, appaccess.SecretRequest{Name: clipped(text("production")), Lifetime: 20 * 24 * time.Hour})
	require.NoError(w.t, err)
	_, err = w.service.SuspendApplication(ctx, root, "reports")
	require.NoError(w.t, err)
	_, err = w.service.BlockUser(ctx, root, "alan")
	require.NoError(w.t, err)
	hand, err := w.service.CreateOneTimeSecret(ctx, root, shop.ID, appaccess.SecretRequest{Name: clipped(text("spring rotation"))})
	require.NoError(w.t, err)
	sub, err := w.service.CreateSubscription(ctx, root, appaccess.SubscriptionRequest{ID: "reporting", Name: text("Reporting job"), OwnerID: "ada", Scope: appaccess.ProductScope("orders")})
	require.NoError(w.t, err)
	_, err = w.service.RequestSubscription(ctx, appaccess.Developer("blaise"), "orders", text("Partner feed"), text("We read orders every night."))
	require.NoError(w.t, err)
	w.clock.Advance(3 * time.Hour)
	return ids{shop.ID, sub.Subscription.ID, hand.ID, cred.Credential.ID, w.asked("ada"), w.offered()}
}
