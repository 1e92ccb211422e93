package provision

import (
	"context"
	"fmt"
	"slices"

	"github.com/entragate/entragate/appaccess"
)

// Client applications that are existing service principals, such as those of
// managed identities. Only their grants are ours: they have no application object,
// tags or credentials of ours. They are read by the object ID of the service
// principal only, because a service principal that was deleted and created again
// is another client.

// existing reports whether the object is an existing service principal.
func (o *object) existing() bool {
	return o.entry.Existing || o.client != nil && o.client.ServicePrincipal.ObjectID != ""
}

// principalID is the object ID of an existing service principal.
func (o *object) principalID() string {
	if o.client != nil && o.client.ServicePrincipal.ObjectID != "" {
		return o.client.ServicePrincipal.ObjectID
	}
	return o.entry.ServicePrincipalID
}

// recordedInEntra reports whether the record says that the object exists in Entra.
func (o *object) recordedInEntra() bool {
	return o.entry.ObjectID != "" || o.entry.Existing && o.entry.AppID != ""
}

// clientGrants are the desired grants of a client. A suspended existing service
// principal has none, because we may not disable its service principal.
func (o *object) clientGrants() appaccess.Grants {
	if o.client.Deleted || o.client.Disabled && o.existing() {
		return nil
	}
	return o.client.Grants
}

// readExisting reads existing service principals. If one is missing, it looks for
// another service principal with the same client ID, to name it in the error.
func (r *run) readExisting(ctx context.Context, objects []*object) {
	refs := make([]PrincipalRef, len(objects))
	for i, o := range objects {
		refs[i] = PrincipalRef{ObjectID: o.principalID()}
	}
	sps, errs := readAll(ctx, r, locked(objects), refs, r.e.dir.ServicePrincipals)
	for i, o := range objects {
		switch {
		case errs[i] == nil:
			o.sp = &sps[i]
		case !notFound(errs[i]):
			o.err = o.problem(Unknown, string(opRead), errs[i])
		case o.entry.AppID != "" && !o.toBeDeleted():
			again, errs := readAll(ctx, r, locked(objects), []PrincipalRef{{AppID: o.entry.AppID}}, r.e.dir.ServicePrincipals)
			if errs[0] == nil {
				o.recreated = again[0].ObjectID
			}
		}
		o.rewriteGrants = o.lock != nil && o.sp != nil && !o.inSync && o.readAt.Before(o.lagsUntil)
	}
}

// PrincipalMissingError says that the tenant does not have the service principal
// of a client application any more, or never had it. It matches
// [appaccess.ErrNotFound].
type PrincipalMissingError struct {
	ObjectID string
	// Recreated is the object ID of the service principal that has the client ID
	// now; empty if there is none. It is another object, which was granted nothing.
	Recreated string
}

func (e *PrincipalMissingError) Error() string {
	text := fmt.Sprintf("the tenant has no service principal with the object ID %s", e.ObjectID)
	if e.Recreated != "" {
		text += fmt.Sprintf("; another one, %s, has its client ID now", e.Recreated)
	}
	return text
}

// Is makes the error match [appaccess.ErrNotFound].
func (e *PrincipalMissingError) Is(target error) bool { return target == appaccess.ErrNotFound }

// nextOfExisting revokes and grants. It writes nothing else to an existing service
// principal.
func (r *run) nextOfExisting(o *object) (*step, error) {
	switch {
	case o.toBeDeleted():
		if o.sp == nil {
			return nil, nil
		}
		return r.nextRevocation(o), nil
	case o.sp == nil:
		return nil, &Error{
			Kind: Permanent, Op: string(opRead), Object: o.name,
			Err:    &PrincipalMissingError{ObjectID: o.principalID(), Recreated: o.recreated},
			Advice: "use the object ID (principal ID) of the service principal, not that of an application; if it was deleted and created again, delete this client application and register the new service principal",
		}
	case !o.expected():
		return nil, o.problem(Permanent, string(opRead), &appaccess.ConflictError{
			Field:   "servicePrincipal.clientId",
			Reason:  fmt.Sprintf("the service principal %s has the client ID %s, expected %s", o.sp.ObjectID, o.sp.AppID, o.client.ServicePrincipal.ClientID),
			Objects: []string{o.id},
		})
	}
	if s := r.nextRevocation(o); s != nil {
		return s, nil
	}
	return r.nextGrant(o)
}

// expected reports whether the service principal has the client ID that it must
// have.
func (o *object) expected() bool {
	return o.client == nil || o.client.ServicePrincipal.ClientID == "" || o.client.ServicePrincipal.ClientID == o.sp.AppID
}

// recordHeld records the desired grants that an existing service principal holds
// already, as people often make them by hand first. From now on they are revoked
// when they are no longer desired.
func (r *run) recordHeld(o *object) {
	for _, g := range r.desiredGrants(o) {
		i := slices.IndexFunc(o.assignments, func(a Assignment) bool { return a.ResourceID == g.ResourceID && a.RoleID == g.RoleID })
		if i >= 0 && o.recorded(g) == nil {
			g.AssignmentID = o.assignments[i].ID
			o.entry.Grants = append(slices.Clone(o.entry.Grants), g)
		}
	}
}

// existingReview is what is read back of an existing service principal.
func (o *object) existingReview(resources map[string]ServicePrincipal) appaccess.ApplicationReview {
	a := appaccess.ApplicationReview{ApplicationID: o.id, Found: o.sp != nil}
	if o.sp == nil {
		return a
	}
	a.Name, a.AppID, a.Type, a.ServicePrincipal = o.sp.DisplayName, o.sp.AppID, o.sp.Type, o.sp.ObjectID
	a.Enabled = o.sp.AccountEnabled && !o.sp.Disabled
	for _, g := range o.assignments {
		resource := resources[g.ResourceID]
		p := appaccess.PermissionReview{ResourceAppID: resource.AppID, Resource: resource.DisplayName, Role: g.RoleID, Granted: true}
		if i := slices.IndexFunc(resource.AppRoles, func(role AppRole) bool { return role.ID == g.RoleID }); i >= 0 {
			p.Role = resource.AppRoles[i].Value
		}
		a.Permissions = append(a.Permissions, p)
	}
	return a
}
