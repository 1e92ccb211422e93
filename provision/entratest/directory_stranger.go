package entratest

import (
	"context"
	"errors"
	"net/http"

	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/internal/graph"
)

// Stranger is another user of the tenant with the default rights of users:
// registers applications, owns what they registered, and reads what every
// member of the tenant may read, which includes unique names and tags. Tests use
// a Stranger to register decoys under the names that provisioning will need.
//
// A Stranger is an application here, not a person, because entratest has no
// delegated permissions: it holds Application.ReadWrite.OwnedBy and
// Application.Read.All, which together allow what a user may do by default.
type Stranger struct {
	tenant *Tenant
	dir    *graph.Client
}

// Decoy is an application that a [Stranger] registered, with a service
// principal and a secret that only the stranger has.
type Decoy struct {
	ObjectID string // of the application
	AppID    string // client ID
	Secret   provision.Secret
}

// AddStranger seeds a user with default rights.
func (t *Tenant) AddStranger(name string) (*Stranger, error) {
	c, err := t.AddCaller(name, ReadWriteOwned, ReadApplications)
	if err != nil {
		return nil, err
	}
	return &Stranger{tenant: t, dir: t.client(c)}, nil
}

// Register registers an application through Graph, with a service principal and
// a secret. Name, UniqueName, Tags and Roles of app count. The stranger has the
// patience that replication lag asks for. A taken unique name is a
// [*provision.APIError], as Graph answers it.
func (s *Stranger) Register(ctx context.Context, app App) (Decoy, error) {
	patch := provision.ApplicationPatch{DisplayName: &app.Name, Tags: &app.Tags}
	if app.UniqueName != "" {
		patch.UniqueName = &app.UniqueName
	}
	if len(app.Roles) > 0 {
		patch.AppRoles = ptr(s.roles(app.Roles))
	}
	a, err := s.dir.CreateApplication(ctx, patch)
	if err != nil {
		return Decoy{}, err
	}
	d := Decoy{ObjectID: a.ObjectID, AppID: a.AppID}
	err = patiently(func() error {
		_, _, err := s.dir.UpsertServicePrincipal(ctx, a.AppID, provision.ServicePrincipalPatch{})
		return err
	})
	if err != nil {
		return d, err
	}
	err = patiently(func() error {
		p, err := s.dir.AddPassword(ctx, a.ObjectID, provision.PasswordRequest{DisplayName: "stranger"})
		d.Secret = p.SecretText
		return err
	})
	return d, err
}

// roles are app roles of these values, with IDs of the stranger's choice.
func (s *Stranger) roles(values []string) []provision.AppRole {
	s.tenant.mu.Lock()
	defer s.tenant.mu.Unlock()
	return mapped(values, func(value string) provision.AppRole {
		r := s.tenant.newRole(value)
		return provision.AppRole{
			ID: r.ID, Value: r.value(), DisplayName: r.DisplayName, Description: r.value(), Enabled: true, AllowedMemberTypes: r.AllowedMemberTypes,
		}
	})
}

// Copy registers a decoy that looks like an application of somebody else: same
// display name, tags and roles, under another unique name or none.
func (s *Stranger) Copy(ctx context.Context, of provision.AppRef, uniqueName string) (Decoy, error) {
	var app App
	err := patiently(func() error {
		read, errs := s.dir.Applications(ctx, []provision.AppRef{of})
		app = App{Name: read[0].DisplayName, Tags: read[0].Tags, UniqueName: uniqueName}
		app.Roles = mapped(read[0].AppRoles, func(r provision.AppRole) string { return r.Value })
		return errs[0]
	})
	if err != nil {
		return Decoy{}, err
	}
	return s.Register(ctx, app)
}

// Delete soft-deletes a decoy: its unique name stays reserved for 30 days, and
// it can be restored.
func (s *Stranger) Delete(ctx context.Context, d Decoy) error {
	return patiently(func() error { return s.dir.DeleteApplication(ctx, d.ObjectID) })
}

// patiently tries again what a lagging replica refuses. The first replica shows
// every change at once, so a random choice meets it soon.
func patiently(f func() error) error {
	var err error
	for range 100 {
		err = f()
		var api *provision.APIError
		if !errors.As(err, &api) || api.Status != http.StatusNotFound && api.Status != http.StatusBadRequest && api.Status != http.StatusForbidden {
			return err
		}
	}
	return err
}
