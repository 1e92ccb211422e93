package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/loopback"
)

// What the feature's description does not have: permissions of operations,
// requests, callers without secrets, and transfers.

const monthly = "/reports/monthly"

// reportsAPI is the OpenAPI document of the Reports API.
const reportsAPI = `
openapi: 3.1.0
info: {title: Reports, version: "1"}
paths:
  /monthly:
    get: {operationId: readReport, security: [{entra: [Read]}]}
    post: {operationId: writeReport, security: [{entra: [Write]}]}
components:
  securitySchemes:
    entra:
      type: oauth2
      flows: {clientCredentials: {tokenUrl: "https://login.microsoftonline.com/", scopes: {Read: reads, Write: writes}}}
`

var readReports = appaccess.Grants{{Product: "reports", Permissions: []string{"Read"}}}

// permissions gives the operations of an API permissions of their own.
func (s *story) permissions(ctx context.Context) error {
	s.step("Give the product Reports the permissions Read and Write, and enforce them by its OpenAPI document")
	p, err := s.service.SetPermissions(ctx, manager, "reports", appaccess.PermissionsRequest{
		Permissions: []appaccess.Permission{{Name: "Read"}, {Name: "Write"}},
	})
	if err != nil {
		return err
	}
	for _, role := range p.Entra.Roles {
		s.say("   app role        %s", role.Value)
	}
	report, err := s.service.ImportOperations(ctx, manager, "reports", appaccess.OperationsImport{Document: []byte(reportsAPI)})
	if err != nil {
		return err
	}
	for _, added := range report.Added {
		s.say("   operation       %-14s needs %s", added.Operation.String(), added.Operation.AnyOf[0][0])
	}
	_, err = s.service.SetEnforcement(ctx, manager, "reports", appaccess.EnforceOperations, 0)
	return err
}

// request has a developer request a client application, which a manager approves
// with less.
func (s *story) request(ctx context.Context) error {
	s.step("Omar requests a client application for Reports; the manager approves it with Read only")
	omar := appaccess.Developer("omar")
	asked, err := s.service.RequestApplication(ctx, omar, appaccess.ApplicationRequest{
		Name: "Report reader", Grants: appaccess.Grants{{Product: "reports", Permissions: []string{"Read", "Write"}}},
	}, "shows reports in the lobby")
	if err != nil {
		return err
	}
	s.say("   request %s: %s", asked.State, asked.Grants)
	decided, err := s.service.ApproveRequest(ctx, manager, asked.ID, appaccess.Approval{Grants: readReports, Answer: "reading is enough"})
	if err != nil {
		return err
	}
	app, err := s.service.Application(ctx, omar, decided.Result)
	if err != nil {
		return err
	}
	s.say("   request %s: %s is %s with %s", decided.State, app.Entra.Name, app.State, app.Grants)
	issued, err := s.service.AddSecret(ctx, omar, app.ID, appaccess.SecretRequest{})
	if err != nil {
		return err
	}
	s.reader, s.readerID = app.ID, app.Entra.AppID
	if s.readerToken, err = s.token(ctx, s.readerID, issued.Value, s.otherScope); err != nil {
		return err
	}
	return s.readNotWrite(ctx, "its token", s.readerToken)
}

// readNotWrite checks that a caller with Read reads a report and cannot write it.
func (s *story) readNotWrite(ctx context.Context, who, token string) error {
	if err := s.untilRead(ctx, token); err != nil {
		return err
	}
	err := call{who + ": GET " + monthly, bearer(token), http.StatusOK}.runOn(ctx, s.client, http.MethodGet, s.gateway+monthly, s.sayCall)
	if err != nil {
		return err
	}
	return call{who + ": POST " + monthly, bearer(token), http.StatusForbidden}.runOn(ctx, s.client, http.MethodPost, s.gateway+monthly, s.sayCall)
}

// untilRead waits until the gateway knows the operations and the caller's grant.
func (s *story) untilRead(ctx context.Context, token string) error {
	return until(ctx, "the gateway to let a reader in and to enforce operations", func() (bool, error) {
		read, _, err := send(ctx, s.client, http.MethodGet, s.gateway+monthly, bearer(token))
		if err != nil || read != http.StatusOK {
			return false, err
		}
		api := s.catalog.Snapshot().API("reports")
		return api != nil && api.Enforcement == appaccess.EnforceOperations, nil
	})
}

// callerWithoutSecret registers a managed identity, which gets its token from
// Azure without any secret.
func (s *story) callerWithoutSecret(ctx context.Context) error {
	s.step("Register the managed identity nightly-report, which has no secret, with Read on Reports")
	identity, err := s.tenant.AddManagedIdentity("nightly-report")
	if err != nil {
		return err
	}
	app, err := s.service.RegisterApplication(ctx, manager, appaccess.ApplicationRequest{
		Name: "Nightly report", OwnerID: "dana", Grants: readReports,
		ServicePrincipal: appaccess.ServicePrincipal{ObjectID: identity.ObjectID, ClientID: identity.AppID},
	})
	if err != nil {
		return err
	}
	s.say("   %s is %s, a %s", app.Name, app.State, app.ClientKind())
	const header = "nightly"
	endpoint, err := s.tenant.ManagedIdentityEndpoint(identity, header)
	if err != nil {
		return err
	}
	server, err := loopback.Serve(s.ca, "127.0.0.1:0", endpoint)
	if err != nil {
		return err
	}
	defer server.Close()
	query := url.Values{"api-version": {"2019-08-01"}, "resource": {s.otherScope}}
	status, body, err := send(ctx, s.client, http.MethodGet, server.URL+"?"+query.Encode(), http.Header{"X-Identity-Header": {header}})
	if err != nil {
		return err
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if status != http.StatusOK {
		return fmt.Errorf("the identity's endpoint answered %d", status)
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return fmt.Errorf("the identity's endpoint: %w", err)
	}
	return s.readNotWrite(ctx, "the identity", answer.AccessToken)
}

// transfer gives a client application to another owner.
func (s *story) transfer(ctx context.Context) error {
	s.step("Omar offers his application to Dana, who accepts: client ID, secret and token stay")
	omar, dana := appaccess.Developer("omar"), appaccess.Developer("dana")
	offer, err := s.service.OfferTransfer(ctx, omar, appaccess.KindApplication, s.reader, "dana")
	if err != nil {
		return err
	}
	if _, err := s.service.AcceptTransfer(ctx, dana, offer.ID); err != nil {
		return err
	}
	app, err := s.service.Application(ctx, dana, s.reader)
	if err != nil {
		return err
	}
	if _, err := s.service.Application(ctx, omar, s.reader); !errors.Is(err, appaccess.ErrNotFound) {
		return fmt.Errorf("the former owner asks for the application: got %v, want not found", err)
	}
	if app.OwnerID != "dana" || app.Entra.AppID != s.readerID {
		return fmt.Errorf("after the transfer: owner %s, client ID %s", app.OwnerID, app.Entra.AppID)
	}
	s.say("   owner %s, the same client ID; Omar no longer sees it", app.OwnerID)
	return call{"the token from before: GET " + monthly, bearer(s.readerToken), http.StatusOK}.
		runOn(ctx, s.client, http.MethodGet, s.gateway+monthly, s.sayCall)
}
