package main

import (
	"context"
	"net/http"
	"strings"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/portal"
	"github.com/entragate/entragate/internal/loopback"
	"github.com/entragate/entragate/provision/entratest"
)

// person has an account in the tenant; developers are users of ours too.
type person struct {
	id, name, account string
	manager           bool
}

var people = []person{
	{id: "mira", name: "Mira Sandoval", account: "mira", manager: true},
	{id: "dana", name: "Dana Fuchs", account: "dana"},
	{id: "omar", name: "Omar Haddad", account: "omar"},
	{id: "ines", name: "Inês Carvalho", account: "ines"},
}

// openPortal serves the portal, with the ready sign-in, and fills it with what
// an organisation might have. It returns the portal's address.
func (h *stack) openPortal(ctx context.Context, say func(string, ...any)) (string, error) {
	mux := http.NewServeMux()
	server, err := loopback.Serve(h.ca, "127.0.0.1:0", mux)
	if err != nil {
		return "", err
	}
	h.later(server.Close)
	redirect := server.URL + "/signin/callback"
	app, err := h.tenant.AddApplication(entratest.App{
		Name: "API portal", Roles: []string{"user:Portal.Manager"}, RedirectURIs: []string{redirect}, TokenVersion: 2,
	})
	if err != nil {
		return "", err
	}
	secret, err := h.tenant.AddSecret(app.AppID, "portal")
	if err != nil {
		return "", err
	}
	p, err := portal.New(portal.Config{
		Service: h.service,
		Title:   "Contoso APIs",
		SignIn: &portal.SignIn{
			TenantID:     h.tenant.ID(),
			ClientID:     app.AppID,
			ClientSecret: func(context.Context) (string, error) { return secret.Reveal(), nil },
			RedirectURL:  redirect,
			Authority:    h.tenant.BaseURL(),
			HTTPClient:   h.client,
		},
		Gateway:    h.gateway,
		APIHosts:   []string{strings.TrimPrefix(h.gateway, "https://")},
		HTTPClient: h.client,
	})
	if err != nil {
		return "", err
	}
	mux.Handle("/", p)
	if err := h.addPeople(ctx, app.AppID); err != nil {
		return "", err
	}
	if err := h.addSamples(ctx); err != nil {
		return "", err
	}
	say("\nPortal   %s", server.URL)
	for _, one := range people {
		if one.manager {
			say("   sign in as manager:    choose %s on the tenant's sign-in page", one.name)
		} else {
			say("   sign in as developer:  choose %s", one.name)
		}
	}
	say("   (the browser will warn: the certificate's authority lives in this process only)")
	return server.URL, nil
}

// addPeople gives everybody an account and binds it to their user.
func (h *stack) addPeople(ctx context.Context, portalAppID string) error {
	known, err := h.service.Users(ctx, manager, appaccess.Filter{})
	if err != nil {
		return err
	}
	users := map[string]bool{}
	for _, u := range known.Items {
		users[u.ID] = true
	}
	for _, one := range people {
		account, err := h.tenant.AddUser(entratest.User{Name: one.name, Username: one.account})
		if err != nil {
			return err
		}
		if one.manager {
			if err := h.tenant.AssignUser(account, portalAppID, "Portal.Manager"); err != nil {
				return err
			}
		}
		if !users[one.id] {
			req := appaccess.UserRequest{ID: one.id, Name: one.name, Email: account.Username}
			if _, err := h.service.CreateUser(ctx, manager, req); err != nil {
				return err
			}
		}
		if _, err := h.service.BindUser(ctx, manager, one.id, h.tenant.ID(), account.ObjectID); err != nil {
			return err
		}
	}
	return nil
}

// addSamples adds products, applications and subscriptions that the story does not
// use, so that the portal has something to show.
func (h *stack) addSamples(ctx context.Context) error {
	for _, req := range []appaccess.APIRequest{
		{ID: "orders", Name: "Orders", Path: "/orders", Description: "Create, change and follow orders"},
		{ID: "stock", Name: "Stock levels", Path: "/stock", Description: "What lies in which warehouse"},
		{ID: "invoices", Name: "Invoices", Path: "/invoices", Description: "Invoices and credit notes as PDF and JSON"},
	} {
		if _, err := h.service.CreateAPI(ctx, manager, req); err != nil {
			return err
		}
	}
	for _, req := range []appaccess.ProductRequest{
		{ID: "logistics", Name: "Logistics", Description: "Orders and stock, for partners and our own warehouses",
			APIs: []string{"orders", "stock"}, Access: appaccess.Access{Token: true, Key: true}, Published: true},
		{ID: "finance", Name: "Finance", Description: "Invoices, for accounting systems",
			APIs: []string{"invoices"}, Access: appaccess.Access{Token: true}, Published: true},
		{ID: "pilot", Name: "Pilot", Description: "What is being tried out; not for developers yet",
			Access: appaccess.Access{Key: true}},
	} {
		if _, err := h.service.CreateProduct(ctx, manager, req); err != nil {
			return err
		}
	}
	for _, req := range []appaccess.ApplicationRequest{
		{Name: "Warehouse scanner", OwnerID: "omar", Grants: appaccess.GrantsOfAll("logistics"), Description: "Handhelds in Rotterdam and Porto"},
		{Name: "Partner gateway", OwnerID: "dana", Grants: appaccess.GrantsOfAll("logistics", "finance"), Description: "Orders of our partners"},
		{Name: "Ledger import", OwnerID: "ines", Grants: appaccess.GrantsOfAll("finance"), Description: "Nightly, into the ledger"},
	} {
		app, err := h.service.RegisterApplication(ctx, manager, req)
		if err != nil {
			return err
		}
		if _, err := h.service.CreateOneTimeSecret(ctx, manager, app.ID, appaccess.SecretRequest{Name: "first"}); err != nil {
			return err
		}
	}
	for _, req := range []appaccess.SubscriptionRequest{
		{Name: "Dashboard in the lobby", OwnerID: "ines", Scope: appaccess.ProductScope("logistics")},
		{Name: "Load test", OwnerID: "omar", Scope: appaccess.APIScope("echo-api")},
		{Name: "Monitoring", Scope: appaccess.AllAPIs},
	} {
		if _, err := h.service.CreateSubscription(ctx, manager, req); err != nil {
			return err
		}
	}
	return nil
}
