package entratest

import (
	"context"
	"errors"
	"net/http"

	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/internal/graph"
)

// Stranger is another user of the tenant with the default rights of users. A stranger
// may register applications, owns them, and may read what every member of the tenant may
// read, including unique names and tags. Tests use a Stranger to register decoys under
// the names that the reconciler needs.
//
// A Stranger is an application here, not a person, because entratest has no
// delegated permissions: it holds Application.ReadWrite.OwnedBy and
// Application.Read.All, which together allow what a user may do by default.
type Stranger struct {
	tenant *Tenant
	dir    *graph.Client
}

// Decoy is an application that a [Stranger] registered, with a service principal and a
// secret that only the stranger knows.
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

// Register registers an application through Graph, with a service principal and a secret.
// It uses Name, UniqueName, Tags and Roles of app. It retries until replication lag is
// over. If another application has the unique name, the error is Graph's
// [*provision.APIError].
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

// roles returns app roles with these values and with IDs that the stranger chose.
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

// Copy registers a decoy with the display name, tags and roles of another application. Its
// unique name is different or missing.
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

// patiently retries a call that a lagging replica refuses. Each attempt reaches a random
// replica, and the first replica shows every change at once, so few attempts are needed.
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
