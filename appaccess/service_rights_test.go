package appaccess_test

import (
	"io"
	"maps"
	"reflect"
	"slices"
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
	ownerOnly right = "owner only" // not even managers
)

type call struct {
	right right
	run   func(s *appaccess.Service, by appaccess.Actor) error
}

// calls has an entry for every method of Service.
func calls(handover, credential string) map[string]call {
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
			return errOf(s.RegisterApplication(ctx, by, appaccess.ApplicationRequest{Name: "New", OwnerID: "ada", Products: []string{"starter"}}))
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
			return errOf(s.GrantProducts(ctx, by, "billing", []string{"gold"}))
		}},
		"RevokeProducts": {ownersNot, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.RevokeProducts(ctx, by, "billing", []string{"gold"}))
		}},
		"GrantApplications": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return s.GrantApplications(ctx, by, "gold", []string{"billing"})
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
		"HandOverSecret": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.HandOverSecret(ctx, by, "archive", appaccess.SecretRequest{}))
		}},
		"Handovers": {owners, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.Handovers(ctx, by, "billing")) }},
		"ReceiveSecret": {ownerOnly, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.ReceiveSecret(ctx, by, "billing", handover))
		}},

		"CreateSubscription": {anyone, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.CreateSubscription(ctx, by, appaccess.SubscriptionRequest{Name: "Mine", Scope: appaccess.ProductScope("starter")}))
		}},
		"Subscriptions": {anyone, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Subscriptions(ctx, by, appaccess.SubscriptionFilter{}))
		}},
		"Subscription": {owners, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.Subscription(ctx, by, "sub")) }},
		"LastUse":      {owners, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.LastUse(ctx, by, "sub")) }},
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
		"ExportAudit": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return s.ExportAudit(ctx, by, io.Discard, appaccess.AuditFilter{})
		}},
		"Export": {managers, func(s *appaccess.Service, by appaccess.Actor) error { return errOf(s.Export(ctx, by)) }},
		"Diff": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Diff(ctx, by, appaccess.Document{Version: 1}, appaccess.ImportRequest{}))
		}},
		"Import": {managers, func(s *appaccess.Service, by appaccess.Actor) error {
			return errOf(s.Import(ctx, by, appaccess.Document{Version: 1}, appaccess.ImportRequest{}))
		}},
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestEveryMethodAuthorizes(t *testing.T) {
	t.Parallel()
	h := newHouse(t).withApp()
	handover, credential := h.stageRights()
	table := calls(handover, credential)
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
		case ownerOnly:
			require.ErrorIs(t, err, appaccess.ErrNotFound, "%s by another developer", name)
			require.ErrorIs(t, c.run(h.Service, boss), appaccess.ErrForbidden, "%s by a manager", name)
		case anyone:
			require.NoError(t, err, "%s by a developer", name)
		}
		if name == "CreateSubscription" {
			before = h.revision() // eve made one of her own
		}
	}
	assert.Equal(t, before, h.revision(), "a refusal wrote something")
	assert.Equal(t, entraCalls, h.entra.calls, "a refusal reached Entra")
}

// The same calls work for those who may make them.
func TestEveryMethodWorksForItsActors(t *testing.T) {
	t.Parallel()
	for _, by := range []appaccess.Actor{boss, ada} {
		h := newHouse(t).withApp()
		handover, credential := h.stageRights()
		table := calls(handover, credential)
		delete(table, "UserByAccount") // nobody is bound
		if by.Manager {
			delete(table, "ReceiveSecret")
		} else {
			// It takes the credential away that the hand-over is about.
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
func (h *house) stageRights() (handover, credential string) {
	h.t.Helper()
	for _, id := range []string{"mallory", "spare"} {
		_, err := h.CreateUser(ctx, boss, appaccess.UserRequest{ID: id, Name: id})
		require.NoError(h.t, err)
	}
	_, err := h.BlockUser(ctx, boss, "mallory")
	require.NoError(h.t, err)
	_, err = h.CreateAPI(ctx, boss, appaccess.APIRequest{ID: "spare", Name: "Spare", Path: "/spare"})
	require.NoError(h.t, err)
	for _, id := range []string{"spare", "doomed"} {
		_, err = h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: id, Name: id})
		require.NoError(h.t, err)
	}
	_, err = h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "doomed", Name: "Doomed", OwnerID: "mallory", Products: []string{"gold"}})
	assertConflict(h.t, err, "ownerId")
	_, err = h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "doomed", Name: "Doomed", OwnerID: "ada", Products: []string{"gold"}})
	require.NoError(h.t, err)
	_, err = h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "archive", Name: "Archive", OwnerID: "ada", Products: []string{"gold"}})
	require.NoError(h.t, err)
	for _, id := range []string{"sub", "doomed"} {
		_, err = h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: id, Name: id, OwnerID: "ada", Scope: appaccess.ProductScope("starter")})
		require.NoError(h.t, err)
	}
	made, err := h.AddFederatedCredential(ctx, boss, "billing", appaccess.FederatedRequest{Name: "cloud", Issuer: "https://other.example.com", Subject: "workload"})
	require.NoError(h.t, err)
	sealed, err := h.HandOverSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(h.t, err)
	return sealed.ID, made.ID
}
