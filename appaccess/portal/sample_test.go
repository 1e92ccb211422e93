package portal_test

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// sample is what a real organisation might have.
type sample struct{ application, subscription, handover string }

func (w *world) sample() sample {
	w.t.Helper()
	ctx := w.t.Context()
	w.orders()
	for _, a := range []appaccess.APIRequest{
		{ID: "stock-api", Name: "Stock API", Path: "/stock", Description: "What lies in which warehouse.", ServiceURL: "https://stock.contoso.example/stock"},
		{ID: "invoices-api", Name: "Invoices API", Path: "/invoices", Description: "Invoices and reminders."},
	} {
		_, err := w.service.CreateAPI(ctx, root, a)
		require.NoError(w.t, err)
	}
	for _, p := range []appaccess.ProductRequest{
		{ID: "logistics", Name: "Logistics", Description: "Stock and shipping for partners.", APIs: []string{"stock-api"}, Access: appaccess.Access{Token: true}, Published: true},
		{ID: "finance", Name: "Finance", Description: "Invoices, for the finance department.", APIs: []string{"invoices-api"}, Access: appaccess.Access{Token: true, Key: true}},
	} {
		_, err := w.service.CreateProduct(ctx, root, p)
		require.NoError(w.t, err)
	}
	for id, name := range map[string]string{"emmy": "Emmy Noether", "alan": "Alan Turing", "katherine": "Katherine Johnson"} {
		_, err := w.service.CreateUser(ctx, root, appaccess.UserRequest{ID: id, Name: name, Email: id + "@contoso.example"})
		require.NoError(w.t, err)
	}
	shop, err := w.service.RegisterApplication(ctx, root, appaccess.ApplicationRequest{
		ID: "web-shop", Name: "Web shop", OwnerID: "ada", Products: []string{"orders", "logistics"}, Description: "Takes orders and shows what is in stock.",
	})
	require.NoError(w.t, err)
	for id, name := range map[string]string{"warehouse": "Warehouse robots", "reports": "Monthly reports"} {
		_, err := w.service.RegisterApplication(ctx, root, appaccess.ApplicationRequest{ID: id, Name: name, OwnerID: map[string]string{"warehouse": "emmy", "reports": "blaise"}[id], Products: []string{"logistics"}})
		require.NoError(w.t, err)
	}
	_, err = w.service.AddSecret(ctx, root, shop.ID, appaccess.SecretRequest{Name: "production", Lifetime: 20 * 24 * time.Hour})
	require.NoError(w.t, err)
	_, err = w.service.SuspendApplication(ctx, root, "reports")
	require.NoError(w.t, err)
	_, err = w.service.BlockUser(ctx, root, "alan")
	require.NoError(w.t, err)
	hand, err := w.service.HandOverSecret(ctx, root, shop.ID, appaccess.SecretRequest{Name: "spring rotation"})
	require.NoError(w.t, err)
	sub, err := w.service.CreateSubscription(ctx, root, appaccess.SubscriptionRequest{ID: "reporting", Name: "Reporting job", OwnerID: "ada", Scope: appaccess.ProductScope("orders")})
	require.NoError(w.t, err)
	_, err = w.service.CreateSubscription(ctx, appaccess.Developer("blaise"), appaccess.SubscriptionRequest{ID: "partner", Name: "Partner feed", OwnerID: "blaise", Scope: appaccess.ProductScope("orders")})
	require.NoError(w.t, err)
	w.clock.advance(3 * time.Hour)
	return sample{shop.ID, sub.Subscription.ID, hand.ID}
}
