package provision_test

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// documentedState is a row of the state table in the package documentation.
type documentedState struct{ state, step string }

// documentedStates reads the rows of the state table.
func documentedStates(t *testing.T) []documentedState {
	t.Helper()
	text, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	_, text2, ok := strings.Cut(string(text), "// # States\n")
	require.True(t, ok)
	text2, _, ok = strings.Cut(text2, "// A client's API permissions")
	require.True(t, ok)
	gap := regexp.MustCompile(` {2,}`)
	var rows []documentedState
	subject := ""
	for line := range strings.Lines(text2) {
		line, ok := strings.CutPrefix(line, "//\t")
		if !ok {
			continue
		}
		switch cells := gap.Split(strings.TrimSpace(line), -1); {
		case len(cells) == 1:
			subject = cells[0]
		case subject != "":
			require.Len(t, cells, 4, line)
			rows = append(rows, documentedState{subject + ": " + strings.Join(cells[:3], ", "), cells[3]})
		}
	}
	return rows
}

// stateWorld is a tenant in which product starter exists, and the desired state
// with one client application.
type stateWorld struct {
	*world
	others  provision.Directory // of another administrator
	want    memstore.Desired
	vault   *vault
	product appaccess.ProductApplication
	client  appaccess.ApplicationRegistration
	secret  appaccess.Credential
}

const clientKey = "entragate-test-application-c1"

// apply brings the tenant in sync and waits for the replicas.
func (w *stateWorld) apply() {
	applied := w.world.apply(w.want)
	w.product, w.client = applied.Products["starter"], applied.Applications["c1"]
	w.settle()
}

func (w *stateWorld) deleteClient() {
	w.want.Applications = []appaccess.DesiredApplication{{ID: "c1", Deleted: true}}
}

func (w *stateWorld) revoke() { w.want.Applications[0].Grants = nil }

func (w *stateWorld) ok(err error) { require.NoError(w.t, err) }

// grant is the client's grant in Entra; nil: there is none.
func (w *stateWorld) grant() *provision.Assignment {
	lists, errs := w.dir.Assignments(w.t.Context(), []string{w.client.ServicePrincipalID})
	w.ok(errs[0])
	if len(lists[0]) == 0 {
		return nil
	}
	return &lists[0][0]
}

func (w *stateWorld) ungrant() {
	g := w.grant()
	w.ok(w.others.Unassign(w.t.Context(), g.ResourceID, g.ID))
}

func (w *stateWorld) regrant() {
	_, err := w.others.Assign(w.t.Context(), provision.Assignment{PrincipalID: w.client.ServicePrincipalID, ResourceID: w.product.ServicePrincipalID, RoleID: w.product.Roles[0].ID})
	w.ok(err)
}

func (w *stateWorld) addSecret() {
	var err error
	w.secret, err = w.engine().AddCredential(w.t.Context(), "c1", w.vault.request("op-1"))
	w.ok(err)
	w.settle()
}

// app is the client's application.
func (w *stateWorld) app() provision.Application {
	apps, errs := w.dir.Applications(w.t.Context(), []provision.AppRef{{ObjectID: w.client.ObjectID}})
	w.ok(errs[0])
	return apps[0]
}

// addPassword adds a secret behind the back of the reconciler.
func (w *stateWorld) addPassword(name string) {
	_, err := w.others.AddPassword(w.t.Context(), w.client.ObjectID, provision.PasswordRequest{DisplayName: name, End: w.clock.Now().AddDate(1, 0, 0)})
	w.ok(err)
}

// pend makes the delivered secret a pending one, as a crash before the delivery does.
func (w *stateWorld) pend() {
	name := w.app().Passwords[0].DisplayName
	_, err := w.store.Update(w.t.Context(), func(x appaccess.Writer) error {
		rec, err := x.Get(appaccess.KindProvisioning, clientKey)
		if err != nil {
			return err
		}
		var e map[string]any
		if err := json.Unmarshal(rec.Body, &e); err != nil {
			return err
		}
		delete(e, "credentials")
		e["attempts"] = []map[string]any{{"tag": name[strings.LastIndexByte(name, ' ')+1:], "kind": "secret"}}
		rec.Body, err = json.Marshal(e)
		if err != nil {
			return err
		}
		return x.Put(rec)
	})
	w.ok(err)
}

func (w *stateWorld) stranger() {
	s, err := w.tenant.AddStranger("mallory")
	w.ok(err)
	_, err = s.Register(w.t.Context(), entratest.App{Name: "decoy", UniqueName: clientKey, Tags: []string{publicTag("application", "c1")}})
	w.ok(err)
}

func (w *stateWorld) principal(objectID, clientID string) {
	w.want.Applications[0].ServicePrincipal = appaccess.ServicePrincipal{ObjectID: objectID, ClientID: clientID}
}

// next is the first step that a plan names for the client application, or its
// error. Of a grant, the change of the application's API permissions is left out.
func (w *stateWorld) next(state string) string {
	w.settle()
	plan, err := w.engine().Plan(w.t.Context(), w.want)
	w.ok(err)
	for _, s := range plan.Steps {
		permissions := strings.HasPrefix(state, "A grant:") && strings.HasPrefix(s.Detail, "API permissions")
		if s.Object == "application c1" && !permissions {
			return string(s.Action)
		}
	}
	err = plan.Failed["application c1"]
	var (
		notOurs  *provision.NotOursError
		missing  *provision.PrincipalMissingError
		conflict *appaccess.ConflictError
	)
	switch {
	case err == nil:
		return "none"
	case errors.As(err, &notOurs):
		return "NotOursError"
	case errors.As(err, &missing):
		return "PrincipalMissingError"
	case errors.As(err, &conflict):
		return "ConflictError"
	case errors.Is(err, appaccess.ErrNotFound):
		return "ErrNotFound"
	}
	return err.Error()
}

const noSuchID = "00001111-aaaa-2222-bbbb-3333cccc4444"

// stateSetups bring a tenant into the states of the table.
var stateSetups = map[string]func(*stateWorld){
	"An application: nothing, no application, exists":                  func(*stateWorld) {},
	"An application: nothing, an application that is not ours, exists": (*stateWorld).stranger,
	"An application: nothing, an application that is not ours, deleted": func(w *stateWorld) {
		w.stranger()
		w.deleteClient()
	},
	"An application: nothing, ours, with an unrecorded secret, exists": func(w *stateWorld) {
		w.apply()
		w.addSecret()
		w.forget(appaccess.KindProvisioning, clientKey)
	},
	"An application: nothing, no application, adopted": func(w *stateWorld) { w.want.Applications[0].Adopt = noSuchID },
	"An application: nothing, an application that nobody manages, adopted": func(w *stateWorld) {
		old, err := w.tenant.AddApplication(entratest.App{Name: "Old client"})
		w.ok(err)
		w.want.Applications[0].Adopt = old.AppID
	},
	"An application: object ID, no application, exists": func(w *stateWorld) {
		w.apply()
		w.ok(w.tenant.PurgeApplication(w.client.AppID))
	},
	"An application: object ID, a soft-deleted application, exists": func(w *stateWorld) {
		w.apply()
		w.ok(w.others.DeleteApplication(w.t.Context(), w.client.ObjectID))
	},
	"An application: object ID, no service principal, exists": func(w *stateWorld) {
		w.apply()
		w.ok(w.others.DeleteServicePrincipal(w.t.Context(), w.client.ServicePrincipalID))
	},
	"An application: object ID, another name or description, exists": func(w *stateWorld) {
		w.apply()
		name := "renamed"
		w.ok(w.others.PatchApplication(w.t.Context(), w.client.ObjectID, provision.ApplicationPatch{DisplayName: &name}))
	},
	"An application: object ID, the desired application, exists": (*stateWorld).apply,
	"An application: object ID, signed with another key, exists": func(w *stateWorld) {
		w.apply()
		tags := w.app().Tags
		for i := range tags {
			if strings.HasPrefix(tags[i], "entragate:proof:") {
				tags[i] = "entragate:proof:another"
			}
		}
		w.ok(w.others.PatchApplication(w.t.Context(), w.client.ObjectID, provision.ApplicationPatch{Tags: &tags}))
	},
	"An application: object ID, an application, deleted": func(w *stateWorld) {
		w.revoke()
		w.apply()
		w.deleteClient()
	},
	"An application: removed, a soft-deleted application, exists": func(w *stateWorld) {
		w.apply()
		desired := w.want.Applications
		w.deleteClient()
		w.world.apply(w.want)
		w.want.Applications = desired
	},
	"An application: removed, a soft-deleted application, deleted": func(w *stateWorld) {
		w.apply()
		w.deleteClient()
		w.world.apply(w.want)
	},
	"An application: removed, the application again, deleted": func(w *stateWorld) {
		w.apply()
		id := w.client.ObjectID
		w.deleteClient()
		w.world.apply(w.want)
		w.ok(w.others.Restore(w.t.Context(), id))
	},

	"A grant: nothing, no grant, granted": func(w *stateWorld) {
		grants := w.want.Applications[0].Grants
		w.revoke()
		w.apply()
		w.want.Applications[0].Grants = grants
	},
	"A grant: nothing, a grant of others, nothing": func(w *stateWorld) {
		w.revoke()
		w.apply()
		w.regrant()
	},
	"A grant: granted, a grant, granted": (*stateWorld).apply,
	"A grant: granted, no grant, granted": func(w *stateWorld) {
		w.apply()
		w.ungrant()
	},
	"A grant: granted, a grant, nothing": func(w *stateWorld) {
		w.apply()
		w.revoke()
	},
	"A grant: granted, no grant, nothing": func(w *stateWorld) {
		w.apply()
		w.ungrant()
		w.revoke()
	},
	"A grant: revoking, no grant, nothing": func(w *stateWorld) {
		w.apply()
		w.revoke()
		w.world.apply(w.want)
	},
	"A grant: revoking, the grant again, nothing": func(w *stateWorld) {
		w.apply()
		client := w.client
		w.revoke()
		w.world.apply(w.want)
		w.client = client
		w.regrant()
	},
	"A grant: revoking, no grant, granted": func(w *stateWorld) {
		w.apply()
		grants := w.want.Applications[0].Grants
		w.revoke()
		w.world.apply(w.want)
		w.want.Applications[0].Grants = grants
	},

	"A credential: nothing, a secret of others, exists": func(w *stateWorld) {
		w.apply()
		w.addPassword("of an administrator")
	},
	"A credential: delivered, a secret, exists": func(w *stateWorld) {
		w.apply()
		w.addSecret()
	},
	"A credential: delivered, no secret, exists": func(w *stateWorld) {
		w.apply()
		w.addSecret()
		w.ok(w.others.RemovePassword(w.t.Context(), w.client.ObjectID, w.secret.KeyID))
	},
	"A credential: pending, a secret, exists": func(w *stateWorld) {
		w.apply()
		w.addSecret()
		w.pend()
	},
	"A credential: revoking, the secret again, exists": func(w *stateWorld) {
		w.apply()
		w.addSecret()
		name := w.app().Passwords[0].DisplayName
		w.ok(w.engine().RemoveCredential(w.t.Context(), "c1", w.secret))
		w.addPassword(name) // Entra cannot bring the same key ID back, but the same operation tag
	},

	"An existing service principal: nothing, the service principal, granted": func(w *stateWorld) {
		vm, err := w.tenant.AddManagedIdentity("vm")
		w.ok(err)
		w.principal(vm.ObjectID, vm.AppID)
	},
	"An existing service principal: nothing, no service principal, granted": func(w *stateWorld) { w.principal(noSuchID, "") },
	"An existing service principal: nothing, another client ID, granted": func(w *stateWorld) {
		vm, err := w.tenant.AddManagedIdentity("vm")
		w.ok(err)
		w.principal(vm.ObjectID, noSuchID)
	},
}

func TestTheDocumentedStatesLeadToTheDocumentedSteps(t *testing.T) {
	t.Parallel()
	rows := documentedStates(t)
	assert.Len(t, rows, len(stateSetups))
	for _, row := range rows {
		t.Run(row.state, func(t *testing.T) {
			t.Parallel()
			setup := stateSetups[row.state]
			require.NotNil(t, setup, "the table has a row that this test does not set up")
			w := &stateWorld{world: newWorld(t, entratest.Config{}), want: memstore.Desired{Products: products("starter")}, vault: newVault()}
			admin, err := w.tenant.AddCaller("another administrator", entratest.ApplicationAdministrator)
			require.NoError(t, err)
			w.others = w.tenant.Directory(admin)
			w.apply()
			w.want.Applications = []appaccess.DesiredApplication{wantClient("c1", "starter")}
			setup(w)
			step, _, _ := strings.Cut(row.step, " ") // "remove the secret" begins with the action
			assert.Equal(t, step, w.next(row.state))
		})
	}
}
