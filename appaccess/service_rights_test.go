package appaccess_test

import (
	"crypto/rand"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// Who may call what. Every call is about something that exists and is ada's
// where it can have an owner.
type right string

const (
	managers  right = "managers"   // others: forbidden
	owners    right = "owners"     // and managers; others: not found
	ownersNot right = "owners not" // owners are forbidden, others do not find it
	anyone    right = "anyone"     // every user, for what they may see
	userOnly  right = "user only"  // every user, for themselves: not a manager who is none
	ownerOnly right = "owner only" // not even managers
)

type call struct {
	right right
	run   func(s *appaccess.Service, by appaccess.Actor) error
}

// calls has an entry for every method of Service.
func calls(waitingSecret, credential string) map[string]call {
	return map[string]call{
		"CreateUser": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.CreateUser(ctx, by, appaccess.UserRequest{Name: "N"}))
		}},
		"Users": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Users(ctx, by, appaccess.Filter{}))
		}},
		"User": {owners, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.User(ctx, by, "ada")) }},
		"UserByAccount": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.UserByAccount(ctx, by, tenantID, tenantID))
		}},
		"UpdateUser": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.UpdateUser(ctx, by, "ada", appaccess.UserUpdate{Name: ptr("Ada")}))
		}},
		"BindUser": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.BindUser(ctx, by, "eve", "", ""))
		}},
		"BlockUser":   {managers, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.BlockUser(ctx, by, "mallory")) }},
		"UnblockUser": {managers, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.UnblockUser(ctx, by, "mallory")) }},
		"DeleteUser":  {managers, func(s *appaccess.Service, by appaccess.Actor) error { return s.DeleteUser(ctx, by, "spare") }},

		"CreateAPI": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.CreateAPI(ctx, by, appaccess.APIRequest{Name: "New", Path: "/new"}))
		}},
		"APIs": {anyone, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.APIs(ctx, by, appaccess.Filter{}))
		}},
		"API": {anyone, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.API(ctx, by, "echo-api")) }},
		"UpdateAPI": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.UpdateAPI(ctx, by, "echo-api", appaccess.APIUpdate{Description: ptr("d")}))
		}},
		"ImportOperations": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.ImportOperations(ctx, by, "echo-api", appaccess.OperationsImport{Document: []byte(ordersV1)}))
		}},
		"APIDocument": {anyone, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.APIDocument(ctx, by, "echo-api"))
		}},
		"SetOperations": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.SetOperations(ctx, by, "echo-api", []appaccess.Operation{{ID: "by-hand", Method: "GET", Path: "/by-hand"}}, 0))
		}},
		"RequirePermissions": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.RequirePermissions(ctx, by, "echo-api", "listorders", [][]string{{"Read"}}, 0))
		}},
		"RemoveOperation": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.RemoveOperation(ctx, by, "echo-api", "doomed"))
		}},
		"SetEnforcement": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.SetEnforcement(ctx, by, "echo-api", appaccess.ReportOperations, 0))
		}},
		"DeleteAPI": {managers, func(s *appaccess.Service, by appaccess.Actor) error { return s.DeleteAPI(ctx, by, "spare") }},

		"CreateProduct": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.CreateProduct(ctx, by, appaccess.ProductRequest{Name: "New"}))
		}},
		"Products": {anyone, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Products(ctx, by, appaccess.Filter{}))
		}},
		"Product": {anyone, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.Product(ctx, by, "starter")) }},
		"UpdateProduct": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.UpdateProduct(ctx, by, "gold", appaccess.ProductUpdate{Description: ptr("d")}))
		}},
		"PublishProduct": {managers, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.PublishProduct(ctx, by, "gold")) }},
		"UnpublishProduct": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.UnpublishProduct(ctx, by, "spare"))
		}},
		"SuspendProduct": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.SuspendProduct(ctx, by, "spare"))
		}},
		"ResumeProduct": {managers, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.ResumeProduct(ctx, by, "spare")) }},
		"AssignAPIs": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.AssignAPIs(ctx, by, "gold", []string{"echo-api"}))
		}},
		"UnassignAPIs": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.UnassignAPIs(ctx, by, "gold", []string{"echo-api"}))
		}},
		"SetAccess": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.SetAccess(ctx, by, "spare", appaccess.AccessRequest{Access: appaccess.Access{Key: true}}))
		}},
		"DeleteProduct": {managers, func(s *appaccess.Service, by appaccess.Actor) error { return s.DeleteProduct(ctx, by, "doomed", true) }},
		"Readiness":     {anyone, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.Readiness(ctx, by, "starter")) }},
		"GrantedApplications": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.GrantedApplications(ctx, by, "starter", appaccess.Filter{}))
		}},

		"RegisterApplication": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.RegisterApplication(ctx, by, appaccess.ApplicationRequest{Name: "New", OwnerID: "ada", Grants: appaccess.GrantsOfAll("gold")}))
		}},
		"Applications": {anyone, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Applications(ctx, by, appaccess.Filter{}))
		}},
		"Application": {owners, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.Application(ctx, by, "billing")) }},
		"ApplicationSettings": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.ApplicationSettings(ctx, by, "billing"))
		}},
		"UpdateApplication": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.UpdateApplication(ctx, by, "billing", appaccess.ApplicationUpdate{Description: ptr("by " + by.UserID)}))
		}},
		"GrantProducts": {ownersNot, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.GrantProducts(ctx, by, "billing", appaccess.GrantsOfAll("gold")))
		}},
		"RevokeProducts": {ownersNot, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.RevokeProducts(ctx, by, "billing", []string{"gold"}))
		}},
		"GrantApplications": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return s.GrantApplications(ctx, by, appaccess.GrantsOfAll("gold")[0], []string{"billing"})
		}},
		"RevokeApplications": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return s.RevokeApplications(ctx, by, "gold", []string{"billing"})
		}},
		"SuspendApplication": {ownersNot, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.SuspendApplication(ctx, by, "billing"))
		}},
		"ResumeApplication": {ownersNot, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.ResumeApplication(ctx, by, "billing"))
		}},
		"DeleteApplication": {managers, func(s *appaccess.Service, by appaccess.Actor) error { return s.DeleteApplication(ctx, by, "doomed") }},

		"SetPermissions": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.SetPermissions(ctx, by, "gold", appaccess.PermissionsRequest{Permissions: []appaccess.Permission{{Name: "Read"}}}))
		}},
		"RequestAccount": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.RequestAccount(ctx, by, appaccess.AccountApplicant{TenantID: tenantID, ObjectID: "00000000-0000-0000-0000-00000000000a", Name: "New"}))
		}},
		"AccountRequestOf": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.AccountRequestOf(ctx, by, tenantID, "00000000-0000-0000-0000-00000000000b"))
		}},
		"RequestApplication": {userOnly, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.RequestApplication(ctx, by, appaccess.ApplicationRequest{Name: "New", Grants: appaccess.GrantsOfAll("starter")}, ""))
		}},
		"RequestProducts": {ownerOnly, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.RequestProducts(ctx, by, "archive", "", appaccess.GrantsOfAll("starter")))
		}},
		"RequestSubscription": {userOnly, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.RequestSubscription(ctx, by, "starter", "Mine", ""))
		}},
		"Requests": {anyone, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Requests(ctx, by, appaccess.RequestFilter{}))
		}},
		"Request": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Request(ctx, by, asked(s, "Asked")))
		}},
		"ApproveRequest": {ownersNot, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.ApproveRequest(ctx, by, asked(s, "Approved"), appaccess.Approval{}))
		}},
		"RejectRequest": {ownersNot, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.RejectRequest(ctx, by, asked(s, "Rejected"), "no"))
		}},
		"WithdrawRequest": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.WithdrawRequest(ctx, by, asked(s, "Withdrawn")))
		}},

		"TransferApplication": {ownersNot, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.TransferApplication(ctx, by, "billing", "ada"))
		}},
		"TransferSubscription": {ownersNot, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.TransferSubscription(ctx, by, "sub", "ada"))
		}},
		"TransferAll": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.TransferAll(ctx, by, "eve", "ada"))
		}},
		"Transfers": {anyone, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.Transfers(ctx, by)) }},
		"OfferTransfer": {ownerOnly, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.OfferTransfer(ctx, by, appaccess.KindApplication, "archive", "spare"))
		}},
		"AcceptTransfer": {ownerOnly, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.AcceptTransfer(ctx, by, offered(s)))
		}},
		"EndTransfer": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return s.EndTransfer(ctx, by, offered(s))
		}},

		"Credentials": {owners, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.Credentials(ctx, by, "billing")) }},
		"AddSecret": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.AddSecret(ctx, by, "billing", appaccess.SecretRequest{Rotate: true, Overlap: time.Hour}))
		}},
		"AddCertificate": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.AddCertificate(ctx, by, "billing", appaccess.CertificateRequest{PEM: certificatePEM}))
		}},
		"AddFederatedCredential": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.AddFederatedCredential(ctx, by, "billing", appaccess.FederatedRequest{Name: "ci-" + by.UserID, Issuer: "https://ci.example.com", Subject: "repo:" + by.UserID}))
		}},
		"RemoveCredential": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return s.RemoveCredential(ctx, by, "billing", credential)
		}},
		"Expiring": {anyone, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Expiring(ctx, by, time.Hour, appaccess.Filter{}))
		}},
		"CreateOneTimeSecret": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.CreateOneTimeSecret(ctx, by, "archive", appaccess.SecretRequest{}))
		}},
		"OneTimeSecrets": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.OneTimeSecrets(ctx, by, "billing"))
		}},
		"ReceiveSecret": {ownerOnly, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.ReceiveSecret(ctx, by, "billing", waitingSecret))
		}},

		"CreateSubscription": {anyone, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.CreateSubscription(ctx, by, appaccess.SubscriptionRequest{Name: "Mine", Scope: appaccess.ProductScope("starter")}))
		}},
		"Subscriptions": {anyone, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Subscriptions(ctx, by, appaccess.SubscriptionFilter{}))
		}},
		"Subscription": {owners, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.Subscription(ctx, by, "sub")) }},
		"APIsOf":       {anyone, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.APIsOf(ctx, by, "gold")) }},
		"CredentialsOf": {anyone, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.CredentialsOf(ctx, by, "billing"))
		}},
		"LastUsed": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.LastUsed(ctx, by, appaccess.Ref{Kind: appaccess.KindSubscription, ID: "sub"}))
		}},
		"Revision": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Revision(ctx, by, appaccess.KindSubscription, "sub"))
		}},
		"Names": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Names(ctx, by, appaccess.Ref{Kind: appaccess.KindUser, ID: "ada"}))
		}},
		"Usage": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Usage(ctx, by, appaccess.Ref{Kind: appaccess.KindSubscription, ID: "sub"}))
		}},
		"SpendForm": {anyone, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.SpendForm(ctx, by, strings.ToLower(rand.Text()), time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)))
		}},
		"UpdateSubscription": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.UpdateSubscription(ctx, by, "sub", appaccess.SubscriptionUpdate{Name: ptr("by " + by.UserID)}))
		}},
		"SetSubscriptionState": {ownersNot, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.SetSubscriptionState(ctx, by, "sub", appaccess.SubscriptionSuspended))
		}},
		"RegenerateKey": {owners, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.RegenerateKey(ctx, by, "sub", appaccess.PrimaryKey))
		}},
		"DeleteSubscription": {ownersNot, func(s *appaccess.Service, by appaccess.Actor) error { return s.DeleteSubscription(ctx, by, "doomed") }},

		"Drift": {managers, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.Drift(ctx, by)) }},
		"RemoveUnknown": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return s.RemoveUnknown(ctx, by, appaccess.Unknown{})
		}},
		"Plan": {managers, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.Plan(ctx, by)) }},
		"Sync": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Sync(ctx, by, appaccess.SyncRequest{}))
		}},
		"Review": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Review(ctx, by, []string{"starter"}, []string{"billing"}))
		}},
		"Preflight": {managers, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.Preflight(ctx, by)) }},
		"Audit": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Audit(ctx, by, appaccess.AuditFilter{}))
		}},
		"PruneAudit": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.PruneAudit(ctx, by, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)))
		}},
		"ExportAudit": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return s.ExportAudit(ctx, by, io.Discard, appaccess.AuditFilter{})
		}},
		"Export": {managers, func(s *appaccess.Service, by appaccess.Actor) error { return s.Export(ctx, by, io.Discard) }},
		"Diff": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			for _, err := range s.Diff(ctx, by, appaccess.Document{Version: 1}, appaccess.ImportRequest{}) {
				return err
			}
			return nil
		}},
		"PlanAccess": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.PlanAccess(ctx, by, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true}}))
		}},
		"PlanProduct": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.PlanProduct(ctx, by, appaccess.ProductRequest{ID: "planned", Name: "Planned", Access: appaccess.Access{Token: true}}))
		}},
		"PlanApplication": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.PlanApplication(ctx, by, appaccess.ApplicationRequest{ID: "planned", Name: "Planned", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter")}))
		}},
		"PlanDocument": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.PlanDocument(ctx, by, appaccess.PlanRequest{Document: &appaccess.Document{Version: 1}}))
		}},
		"ApplyDocument": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.ApplyDocument(ctx, by, appaccess.ApplyRequest{PlanRequest: appaccess.PlanRequest{Document: &appaccess.Document{Version: 1}}}))
		}},
		"Import": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Import(ctx, by, appaccess.Document{Version: 1}, appaccess.ImportRequest{}))
		}},
	}
}

// asked is the request of this name that stageRights made.
func asked(s *appaccess.Service, name string) string {
	list, err := s.Requests(ctx, boss, appaccess.RequestFilter{Filter: appaccess.Filter{Search: name}})
	if err != nil || len(list.Items) == 0 {
		return "none"
	}
	return list.Items[0].ID
}

// offered is the transfer that stageRights has offered to ada.
func offered(s *appaccess.Service) string {
	list, err := s.Transfers(ctx, boss)
	if err != nil || len(list) == 0 {
		return "none"
	}
	return list[0].ID
}

func errOf[T any](_ T, err error) error { return err }

func TestEveryMethodAuthorizes(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	waitingSecret, credential := h.stageRights()
	table := calls(waitingSecret, credential)
	service := reflect.TypeFor[*appaccess.Service]()
	for i := range service.NumMethod() {
		if service.Method(i).Name == "Run" {
			continue // works for nobody: what owns the Service starts it
		}
		assert.Contains(t, table, service.Method(i).Name, "a method whose rights nobody checks")
	}
	before, entraCalls := h.revision(), h.entra.calls
	for name, c := range table {
		require.ErrorIs(t, c.run(h.Service, appaccess.Actor{}), appaccess.ErrForbidden, "%s by nobody", name)
		require.ErrorIs(t, c.run(h.Service, appaccess.Developer("ghost")), appaccess.ErrForbidden, "%s by one who is no user", name)
		require.ErrorIs(t, c.run(h.Service, appaccess.Developer("mallory")), appaccess.ErrForbidden, "%s by a blocked user", name)
		require.ErrorIs(t, c.run(h.Service, appaccess.Manager("mallory")), appaccess.ErrForbidden, "%s by a blocked manager", name)
		err := c.run(h.Service, eve)
		switch c.right {
		case managers:
			require.ErrorIs(t, err, appaccess.ErrForbidden, "%s by another developer", name)
			require.ErrorIs(t, c.run(h.Service, ada), appaccess.ErrForbidden, "%s by a developer", name)
		case ownersNot:
			require.ErrorIs(t, err, appaccess.ErrNotFound, "%s by another developer", name)
			require.ErrorIs(t, c.run(h.Service, ada), appaccess.ErrForbidden, "%s by the owner", name)
		case owners:
			require.ErrorIs(t, err, appaccess.ErrNotFound, "%s by another developer", name)
		case userOnly:
			require.NoError(t, err, "%s by a developer", name)
			before = h.revision()
			require.ErrorIs(t, c.run(h.Service, boss), appaccess.ErrForbidden, "%s by a manager", name)
		case ownerOnly:
			require.ErrorIs(t, err, appaccess.ErrNotFound, "%s by another developer", name)
			require.ErrorIs(t, c.run(h.Service, boss), appaccess.ErrForbidden, "%s by a manager", name)
		case anyone:
			require.NoError(t, err, "%s by a developer", name)
		}
		if c.right == anyone {
			before = h.revision() // eve may have written what is hers
		}
	}
	assert.Equal(t, before, h.revision(), "a refusal wrote something")
	assert.Equal(t, entraCalls, h.entra.calls, "a refusal reached Entra")
}

// The same calls work for those who may make them.
func TestEveryMethodWorksForItsActors(t *testing.T) {
	t.Parallel()
	for _, by := range []appaccess.Actor{boss, ada} {
		h := newFixture(t).withApp()
		waitingSecret, credential := h.stageRights()
		table := calls(waitingSecret, credential)
		delete(table, "UserByAccount") // nobody is bound
		if by.Manager {
			delete(table, "OfferTransfer")
			delete(table, "AcceptTransfer")
			for _, name := range []string{"RequestApplication", "RequestProducts", "RequestSubscription"} {
				delete(table, name)
			}
			delete(table, "ReceiveSecret")
		} else {
			// RemoveCredential would remove the credential of this one-time secret.
			require.NoError(t, table["ReceiveSecret"].run(h.Service, by))
			delete(table, "ReceiveSecret")
		}
		for _, name := range slices.Sorted(maps.Keys(table)) {
			c := table[name]
			if by.Manager || c.right == owners || c.right == anyone {
				assert.NoError(t, c.run(h.Service, by), "%s by %s", name, by.UserID)
			}
		}
	}
}

// stageRights adds what the calls are about.
func (h *fixture) stageRights() (waitingSecret, credential string) {
	h.t.Helper()
	for _, id := range []string{"mallory", "spare"} {
		_, err := h.CreateUser(ctx, boss, appaccess.UserRequest{ID: id, Name: id})
		require.NoError(h.t, err)
	}
	_, err := h.BlockUser(ctx, boss, "mallory")
	require.NoError(h.t, err)
	_, err = h.CreateAPI(ctx, boss, appaccess.APIRequest{ID: "spare", Name: "Spare", Path: "/spare"})
	require.NoError(h.t, err)
	h.imports(ordersV1)
	_, err = h.SetOperations(ctx, boss, "echo-api", []appaccess.Operation{{ID: "doomed", Method: "GET", Path: "/doomed"}}, 0)
	require.NoError(h.t, err)
	for _, id := range []string{"spare", "doomed"} {
		_, err = h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: id, Name: id})
		require.NoError(h.t, err)
	}
	_, err = h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "doomed", Name: "Doomed", OwnerID: "mallory", Grants: appaccess.GrantsOfAll("gold")})
	assertConflict(h.t, err, "ownerId")
	_, err = h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "doomed", Name: "Doomed", OwnerID: "ada", Grants: appaccess.GrantsOfAll("gold")})
	require.NoError(h.t, err)
	_, err = h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "archive", Name: "Archive", OwnerID: "ada", Grants: appaccess.GrantsOfAll("gold")})
	require.NoError(h.t, err)
	for _, id := range []string{"sub", "doomed"} {
		_, err = h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: id, Name: id, OwnerID: "ada", Scope: appaccess.ProductScope("starter")})
		require.NoError(h.t, err)
	}
	h.opens("starter")
	for _, name := range []string{"Asked", "Approved", "Rejected", "Withdrawn"} {
		_, err = h.RequestApplication(ctx, ada, appaccess.ApplicationRequest{Name: name, Grants: appaccess.GrantsOfAll("gold")}, "")
		require.NoError(h.t, err)
	}
	_, err = h.RequestAccount(ctx, boss, appaccess.AccountApplicant{TenantID: tenantID, ObjectID: "00000000-0000-0000-0000-00000000000b", Name: "Applicant"})
	require.NoError(h.t, err)
	_, err = h.CreateUser(ctx, boss, appaccess.UserRequest{ID: "giver", Name: "Giver"})
	require.NoError(h.t, err)
	_, err = h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: "gift", Name: "Gift", OwnerID: "giver", Scope: appaccess.ProductScope("starter")})
	require.NoError(h.t, err)
	_, err = h.OfferTransfer(ctx, appaccess.Developer("giver"), appaccess.KindSubscription, "gift", "ada")
	require.NoError(h.t, err)
	made, err := h.AddFederatedCredential(ctx, boss, "billing", appaccess.FederatedRequest{Name: "cloud", Issuer: "https://other.example.com", Subject: "workload"})
	require.NoError(h.t, err)
	sealed, err := h.CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(h.t, err)
	return sealed.ID, made.ID
}
