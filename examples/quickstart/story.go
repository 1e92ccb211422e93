package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// sample is what the story leaves behind: a developer's client application
// with a secret and a subscription, and one of a second product.
type sample struct {
	applicationID, clientID string
	secret                  appaccess.Secret
	scope                   string
	subscriptionID          string
	key                     appaccess.Secret

	otherClientID string
	otherSecret   appaccess.Secret
	otherScope    string

	reader      string // ID of the client application that may read reports
	readerID    string // its client ID
	readerToken string
}

var manager = appaccess.Manager("manager")

// story plays the feature's description step by step, prints each step, and fails at
// the first step whose outcome is not the promised one.
type story struct {
	*stack
	sample
	say         func(format string, args ...any)
	endOfAccess time.Duration // the longest that it may take
	n           int
}

func (s *story) step(title string) {
	s.n++
	s.say("\n%d. %s", s.n, title)
}

func (s *story) tell(ctx context.Context) error {
	for _, chapter := range []func(context.Context) error{
		s.managedIdentity, s.enableAccess, s.reviewProduct, s.registerClient, s.generateSecret,
		s.reviewClient, s.developerSettings, s.subscribe, s.secondProduct, s.callTheAPI,
		s.permissions, s.request, s.callerWithoutSecret, s.transfer, s.endAccess,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

// managedIdentity: "Configure managed identity", and what "Troubleshooting"
// describes when that was forgotten.
func (s *story) managedIdentity(ctx context.Context) error {
	s.say("A local Entra tenant is up: %s", s.tenant.Authority())
	s.step("Configure managed identity")
	before, err := s.service.Preflight(ctx, manager)
	if err != nil {
		return err
	}
	if before.OK {
		return errors.New("preflight passes for an identity without any role")
	}
	s.say("   Preflight of the managed identity apim-contoso before it has a role:")
	for _, c := range before.Checks {
		if !c.OK {
			s.say("   - %s: %s", c.Name, c.Detail)
		}
	}
	for _, c := range before.Checks {
		if !c.OK {
			s.say("   Remedy: %s", c.Remedy)
			break
		}
	}
	if err := s.tenant.SetRights(s.identity, "Application Administrator"); err != nil {
		return err
	}
	s.tenant.RevokeTokens(s.identity) // a role counts from the next access token
	after, err := s.service.Preflight(ctx, manager)
	if err != nil {
		return err
	}
	if !after.OK {
		return fmt.Errorf("preflight still fails: %+v", after.Checks)
	}
	s.say("   Assigned the role Application Administrator to it: preflight passes")
	return nil
}

// enableAccess: "Enable application based access for product".
func (s *story) enableAccess(ctx context.Context) error {
	s.step("Enable application based access for the product Starter (OAuth 2.0 token and subscription key)")
	p, err := s.service.SetAccess(ctx, manager, "starter", appaccess.AccessRequest{
		Access: appaccess.Access{Token: true, Key: true},
	})
	if err != nil {
		return err
	}
	s.scope = p.Entra.Scope()
	s.say("   created         %s", p.Entra.Name)
	s.say("   application ID  %s", p.Entra.AppID)
	s.say("   audience        %s", p.Entra.Audience())
	s.say("   app role        %s", p.Entra.Role(appaccess.AllPermission))
	s.say("   scope           %s", s.scope)
	return nil
}

// reviewProduct: "Review product application settings in Microsoft Entra ID".
func (s *story) reviewProduct(ctx context.Context) error {
	s.step("Review the product's application, as read back from Entra")
	review, err := s.service.Review(ctx, manager, []string{"starter"}, nil)
	if err != nil {
		return err
	}
	r := review.Products[0]
	if r.Name != "APIMProductApplicationStarter" || len(r.AppRoles) != 1 || r.AppRoles[0].Value != "Product.Starter.All" {
		return fmt.Errorf("the tenant shows %+v", r)
	}
	s.say("   %s, app roles: %s (enabled: %t), App ID URI: %s, assignment required: %t",
		r.Name, r.AppRoles[0].Value, r.AppRoles[0].Enabled, strings.Join(r.IdentifierURIs, ", "), r.AssignmentRequired)
	return nil
}

// registerClient: "Register client application to access product".
func (s *story) registerClient(ctx context.Context) error {
	s.step("Register a client application for the developer Dana, with access to Starter")
	dana, err := s.service.CreateUser(ctx, manager, appaccess.UserRequest{ID: "dana", Name: "Dana Fuchs", Email: "dana@contoso.example"})
	if err != nil {
		return err
	}
	app, err := s.service.RegisterApplication(ctx, manager, appaccess.ApplicationRequest{
		Name: "Order sync", OwnerID: dana.ID, Grants: appaccess.GrantsOfAll("starter"),
		Description: "Copies orders into the warehouse every night",
	})
	if err != nil {
		return err
	}
	s.applicationID, s.clientID = app.ID, app.Entra.AppID
	s.say("   created    %s", app.Entra.Name)
	s.say("   Client ID  %s", app.Entra.AppID)
	s.say("   owner      %s, state %s, products %s", dana.Name, app.State, app.Grants)
	return nil
}

// generateSecret: "Generate client secret".
func (s *story) generateSecret(ctx context.Context) error {
	s.step("Generate a client secret (as its owner; the value is shown once)")
	issued, err := s.service.AddSecret(ctx, appaccess.Developer("dana"), s.applicationID, appaccess.SecretRequest{Name: "first"})
	if err != nil {
		return err
	}
	s.secret = issued.Value
	s.say("   secret %s… (%d characters, not printed here), valid until %s",
		issued.Credential.Hint, len(issued.Value.Reveal()), issued.Credential.End.Format(time.DateOnly))
	return nil
}

// reviewClient: "Review client application settings in Microsoft Entra ID".
func (s *story) reviewClient(ctx context.Context) error {
	s.step("Review the client's API permissions, as read back from Entra")
	review, err := s.service.Review(ctx, manager, nil, []string{s.applicationID})
	if err != nil {
		return err
	}
	r := review.Applications[0]
	if r.Name != "APIMApplicationStarter" || len(r.Permissions) != 1 || !r.Permissions[0].Granted {
		return fmt.Errorf("the tenant shows %+v", r)
	}
	for _, p := range r.Permissions {
		s.say("   %s has %s on %s (requested: %t, granted: %t)", r.Name, p.Role, p.Resource, p.Requested, p.Granted)
	}
	return nil
}

// developerSettings: "Get application settings in developer portal".
func (s *story) developerSettings(ctx context.Context) error {
	s.step("Dana looks up her applications")
	dana := appaccess.Developer("dana")
	mine, err := s.service.Applications(ctx, dana, appaccess.Filter{})
	if err != nil {
		return err
	}
	for _, app := range mine.Items {
		settings, err := s.service.ApplicationSettings(ctx, dana, app.ID)
		if err != nil {
			return err
		}
		s.say("   %s: Client ID %s", app.Name, settings.ClientID)
		for _, scope := range settings.Products {
			s.say("     Scope           %s", scope.Scope)
		}
		for _, c := range settings.Credentials {
			s.say("     Client secret   %s… until %s", c.Hint, c.End.Format(time.DateOnly))
		}
		s.say("     Token endpoint  %s", settings.TokenURL)
	}
	return nil
}

// subscribe gives Dana a subscription key too: either suffices for Starter.
func (s *story) subscribe(ctx context.Context) error {
	s.step("Create a subscription to Starter for Dana")
	issued, err := s.service.CreateSubscription(ctx, manager, appaccess.SubscriptionRequest{
		Name: "Dana's laptop", OwnerID: "dana", Scope: appaccess.ProductScope("starter"),
	})
	if err != nil {
		return err
	}
	s.subscriptionID, s.key = issued.Subscription.ID, issued.Primary
	s.say("   subscription %s is %s; its primary and secondary key are shown once (not here)",
		issued.Subscription.ID, issued.Subscription.State)
	return nil
}

// secondProduct makes a client that holds a token of ours, but for another
// product.
func (s *story) secondProduct(ctx context.Context) error {
	s.step("Create a second product, Reports, with its own API and client")
	if _, err := s.service.CreateAPI(ctx, manager, appaccess.APIRequest{ID: "reports", Name: "Reports", Path: "/reports"}); err != nil {
		return err
	}
	p, err := s.service.CreateProduct(ctx, manager, appaccess.ProductRequest{
		ID: "reports", Name: "Reports", APIs: []string{"reports"}, Published: true, Access: appaccess.Access{Token: true},
	})
	if err != nil {
		return err
	}
	if _, err := s.service.CreateUser(ctx, manager, appaccess.UserRequest{ID: "omar", Name: "Omar Haddad"}); err != nil {
		return err
	}
	app, err := s.service.RegisterApplication(ctx, manager, appaccess.ApplicationRequest{
		Name: "Board deck", OwnerID: "omar", Grants: appaccess.GrantsOfAll("reports"),
	})
	if err != nil {
		return err
	}
	issued, err := s.service.AddSecret(ctx, manager, app.ID, appaccess.SecretRequest{})
	if err != nil {
		return err
	}
	s.otherClientID, s.otherSecret, s.otherScope = app.Entra.AppID, issued.Value, p.Entra.Scope()
	s.say("   created %s and %s", p.Entra.Name, app.Entra.Name)
	return nil
}

// callTheAPI: "Create token and use with API call".
func (s *story) callTheAPI(ctx context.Context) error {
	s.step("Get tokens with the client-credentials flow and call the Echo API: POST " + resource)
	right, err := s.token(ctx, s.clientID, s.secret, s.scope)
	if err != nil {
		return err
	}
	other, err := s.token(ctx, s.otherClientID, s.otherSecret, s.otherScope)
	if err != nil {
		return err
	}
	foreign, err := s.token(ctx, s.clientID, s.secret, s.tenant.GraphScope())
	if err != nil {
		return err
	}
	if err := until(ctx, "the gateway to know the product Reports", func() (bool, error) {
		now := s.catalog.Snapshot()
		return now != nil && now.Product("reports") != nil && now.Product("reports").Entra.AppID != "", nil
	}); err != nil {
		return err
	}
	for _, c := range []call{
		{"no credential", nil, http.StatusUnauthorized},
		{"a garbage token", bearer("garbage"), http.StatusUnauthorized},
		{"a token for another of our products (Reports)", bearer(other), http.StatusForbidden},
		{"a token for a foreign audience (Microsoft Graph)", bearer(foreign), http.StatusUnauthorized},
		{"the right token", bearer(right), http.StatusOK},
		{"the right subscription key", subscriptionKey(s.key.Reveal()), http.StatusOK},
		{"a wrong subscription key", subscriptionKey("wrong"), http.StatusUnauthorized},
	} {
		if err := c.run(ctx, s.client, s.gateway, s.sayCall); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) sayCall(format string, args ...any) { s.say("   "+format, args...) }

// endAccess: what API Management cannot do: a token that lives is refused.
func (s *story) endAccess(ctx context.Context) error {
	s.step("Suspend the client application: its token lives for an hour, its access does not")
	token, err := s.token(ctx, s.clientID, s.secret, s.scope)
	if err != nil {
		return err
	}
	if _, err := s.service.SuspendApplication(ctx, manager, s.applicationID); err != nil {
		return err
	}
	took, err := untilRefused(ctx, s.client, s.gateway, bearer(token), s.endOfAccess)
	if err != nil {
		return fmt.Errorf("after suspension: %w", err)
	}
	s.say("   the same token was refused %d ms after the suspension was stored", took.Milliseconds())
	if _, err := s.service.ResumeApplication(ctx, manager, s.applicationID); err != nil {
		return err
	}
	if err := until(ctx, "the resumed application to pass", func() (bool, error) {
		status, _, err := post(ctx, s.client, s.gateway+resource, bearer(token))
		return status == http.StatusOK, err
	}); err != nil {
		return err
	}
	s.say("   resumed")
	return nil
}
