package appaccess

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Unknown are the objects, credentials and grants in Entra that belong to this
// installation and are not desired: somebody made them by hand, or a store that was
// lost or restored had made them. Apply does not change them; [Service.RemoveUnknown]
// does.
type Unknown struct {
	Applications []TenantApplication `json:"applications"`
	Credentials  []UnknownCredential `json:"credentials"`
	Grants       []UnknownGrant      `json:"grants"`
}

// TenantApplication is an application of this installation as the tenant shows it.
type TenantApplication struct {
	// Object is "product starter" or "application billing". It is empty if the unique
	// name does not show the ID.
	Object       string `json:"object"`
	UniqueName   string `json:"uniqueName"`
	DisplayName  string `json:"displayName"`
	ObjectID     string `json:"objectId"`
	AppID        string `json:"clientId"`     // client ID
	Installation string `json:"installation"` // from its tags, which anybody who may change the application can write
	// Foreign is the number of secrets and certificates without the operation tag of
	// this installation. They are never removed.
	Foreign int `json:"foreign"`
}

// UnknownCredential is a secret or certificate of a client application that carries
// our operation tag and that the store does not know: it was made after the backup
// from which the store was restored, and works.
type UnknownCredential struct {
	Application string         `json:"application"` // ID of the client application
	AppID       string         `json:"clientId"`    // client ID
	Kind        CredentialKind `json:"kind"`
	KeyID       string         `json:"keyId"`
	Name        string         `json:"name"` // display name in Entra
}

// UnknownGrant is a grant of a product that is not desired.
type UnknownGrant struct {
	Application string `json:"application"`     // ID of the client application; empty: the principal is not one of the store
	Principal   string `json:"principal"`       // object ID of the service principal, user or group that has the grant
	Product     string `json:"product"`         // ID of the product
	AppID       string `json:"productClientId"` // client ID of the product
	Resource    string `json:"resource"`        // object ID of the product's service principal
	Permission  string `json:"permission"`      // empty if the product does not have the role
	Role        string `json:"role"`            // ID of the app role
	Assignment  string `json:"assignment"`      // object ID of the app role assignment
}

// Empty reports whether there is nothing unknown.
func (u Unknown) Empty() bool { return len(u.Applications)+len(u.Credentials)+len(u.Grants) == 0 }

// String returns one line for each object, credential and grant.
func (u Unknown) String() string {
	var b strings.Builder
	for _, a := range u.Applications {
		fmt.Fprintf(&b, "unknown to the store: %s %q (client ID %s)\n", a.UniqueName, a.DisplayName, a.AppID)
	}
	for _, c := range u.Credentials {
		fmt.Fprintf(&b, "unknown to the store: %s %q of application %s (key ID %s)\n", c.Kind, c.Name, c.Application, c.KeyID)
	}
	for _, g := range u.Grants {
		client := "application " + g.Application
		if g.Application == "" {
			client = "principal " + g.Principal + ", which is no client application,"
		}
		fmt.Fprintf(&b, "not desired: %s is granted product %s (assignment %s)\n", client, g.Product, g.Assignment)
	}
	return b.String()
}

// unknownObjects names unknown objects in errors.
const unknownObjects = "unknown objects"

// RemoveUnknown removes what [Service.Plan] or [Service.Sync] listed as unknown. It
// revokes grants, removes credentials, and deletes applications if this installation
// can prove that it made them. It reconciles a client application that has an unknown
// grant. The error joins one [*ProvisionError] for each object that could not be
// removed. For managers only.
func (s *Service) RemoveUnknown(ctx context.Context, by Actor, u Unknown) error {
	if err := s.view(ctx, by, (*look).onlyManager); err != nil {
		return err
	}
	if s.entra == nil {
		return errNoEntra()
	}
	if u.Empty() {
		return nil
	}
	err := s.update(ctx, by, func(e *edit) error {
		var errs []error
		for _, a := range u.Applications {
			errs = append(errs, e.audit("entra.remove", KindApplication, a.ObjectID, map[string]string{"uniqueName": a.UniqueName, "clientId": a.AppID}))
		}
		for _, c := range u.Credentials {
			errs = append(errs, e.audit("entra.remove", KindApplication, c.Application, map[string]string{"keyId": c.KeyID}))
		}
		for _, g := range u.Grants {
			errs = append(errs, e.audit("entra.revoke", KindApplication, g.Application, map[string]string{"product": g.Product, "principal": g.Principal, "assignment": g.Assignment}))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return err
	}
	if err := s.entra.RemoveUnknown(ctx, u, desiredState{s}); err != nil {
		return &ProvisionError{Object: unknownObjects, Err: err}
	}
	return nil
}

// addUnknown adds the unknown objects to a plan. If it fails, the error is among the
// plan's failures.
func (s *Service) addUnknown(ctx context.Context, plan *Plan) {
	var err error
	if plan.Unknown, err = s.unknown(ctx); err != nil {
		if plan.Failed == nil {
			plan.Failed = map[string]error{}
		}
		plan.Failed[unknownObjects] = err
	}
}

// unknown lists what is unknown, without applications of objects that are desired:
// reconciling such an object adopts its application or reports why not.
func (s *Service) unknown(ctx context.Context) (Unknown, error) {
	found, err := s.entra.Unknown(ctx)
	if err != nil || len(found.Applications) == 0 {
		return found, err
	}
	var left []TenantApplication
	err = s.store.View(ctx, func(r Reader) error {
		left = nil
		for _, a := range found.Applications {
			desired, err := s.desires(r, a.Object)
			if err != nil {
				return err
			}
			if !desired {
				left = append(left, a)
			}
		}
		return nil
	})
	found.Applications = left
	return found, err
}

// desires reports whether an object, such as "product starter", is to have an
// application in Entra.
func (s *Service) desires(r Reader, object string) (bool, error) {
	kind, id, _ := strings.Cut(object, " ")
	switch Kind(kind) {
	case KindProduct:
		p, err := desiredState{s}.Product(r, id)
		return !p.Deleted, err
	case KindApplication:
		a, err := desiredState{s}.Application(r, id)
		return !a.Deleted, err
	}
	return false, nil
}
