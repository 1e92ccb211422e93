package provision

import (
	"context"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// A product's application has one app role for each permission of the product. The
// reconciler does not change roles that somebody else created.

// roleText returns a role's description for Entra's pages. It does not contain the
// product's description, so that a new description of the product changes no role.
func roleText(permission string) string {
	if permission == appaccess.AllPermission {
		return "Call the APIs of the product."
	}
	return "The permission " + permission + " of the product."
}

func desiredRole(role appaccess.Role, id string) AppRole {
	return AppRole{
		ID: id, Value: role.Value, DisplayName: role.Value, Description: roleText(role.Permission),
		Enabled: true, AllowedMemberTypes: []string{"Application"},
	}
}

func roleValues(roles []appaccess.Role) string {
	var values []string
	for _, role := range roles {
		values = append(values, role.Value)
	}
	return strings.Join(values, ", ")
}

// newRoles returns the roles of a new application.
func (o *object) newRoles() []AppRole {
	var roles []AppRole
	for _, role := range o.product.Roles {
		roles = append(roles, desiredRole(role, roleID(o.key, role.Permission)))
	}
	return roles
}

// roleOf finds the role of a permission in the desired state, or in the provisioning
// state if this run does not change the product. The ID is the recorded ID; empty if
// none is recorded.
func (o *object) roleOf(permission string) (appaccess.Role, bool) {
	same := func(r appaccess.Role) bool { return r.Permission == permission }
	var role appaccess.Role
	i := slices.IndexFunc(o.entry.Roles, same)
	if i >= 0 {
		role = o.entry.Roles[i]
	}
	if o.product == nil {
		return role, i >= 0
	}
	j := slices.IndexFunc(o.product.Roles, same)
	if j < 0 {
		return role, false
	}
	return appaccess.Role{Permission: permission, Value: o.product.Roles[j].Value, ID: role.ID}, true
}

// findRole finds a role of the product in the application. It looks for the ID that we
// generate, then for the recorded ID, then for the value: an adopted application, or
// one whose role somebody created again, has a role with another ID. It returns nil if
// there is none.
func (o *object) findRole(role appaccess.Role) *AppRole {
	if o.app == nil {
		return nil
	}
	for _, is := range []func(AppRole) bool{
		func(a AppRole) bool { return a.ID == roleID(o.key, role.Permission) },
		func(a AppRole) bool { return a.ID == role.ID && role.ID != "" },
		func(a AppRole) bool { return a.Value == role.Value && role.Value != "" },
	} {
		if i := slices.IndexFunc(o.app.AppRoles, is); i >= 0 {
			return &o.app.AppRoles[i]
		}
	}
	return nil
}

// obsolete returns the application's roles for permissions that the product no longer
// has. They are found by recorded ID and, because a store that was restored from a
// backup may have lost the record, by the IDs that we generate.
func (o *object) obsolete() []*AppRole {
	var found []*AppRole
	ours := slices.Clone(o.entry.Roles)
	if o.app != nil {
		for _, role := range o.madeRoles(*o.app) {
			if !slices.ContainsFunc(ours, func(r appaccess.Role) bool { return r.Permission == role.Permission }) {
				ours = append(ours, role)
			}
		}
	}
	for _, role := range ours {
		if _, desired := o.roleOf(role.Permission); desired {
			continue
		}
		role.Value = "" // somebody else may have created a role with the same value
		if have := o.findRole(role); have != nil {
			found = append(found, have)
		}
	}
	return found
}

// madeRole reports whether we generated a role's ID. Roles that were found by their
// value have other IDs.
func (o *object) madeRole(id string) bool {
	return id == roleID(o.key, appaccess.AllPermission) ||
		slices.ContainsFunc(o.entry.Roles, func(r appaccess.Role) bool { return id == roleID(o.key, r.Permission) })
}

// differs reports whether a role needs a change that Entra allows only while the role is
// disabled.
func differs(have *AppRole, role appaccess.Role) bool {
	return have.Value != role.Value || !slices.Equal(have.AllowedMemberTypes, []string{"Application"})
}

// nextRoleChange returns the step that disables the roles that must be changed or
// removed.
func (r *run) nextRoleChange(o *object) *step {
	var ids []string
	for _, role := range o.product.Roles {
		if have := o.findRole(role); have != nil && differs(have, role) {
			ids = append(ids, have.ID)
		}
	}
	for _, have := range o.obsolete() {
		ids = append(ids, have.ID)
	}
	return r.disableRoles(o, func(role AppRole) bool { return slices.Contains(ids, role.ID) })
}

// disableRoles returns the step that disables the enabled roles for which off is true,
// and waits until Entra shows them disabled. It returns nil if there are none.
func (r *run) disableRoles(o *object, off func(AppRole) bool) *step {
	var words []string
	roles := slices.Clone(o.app.AppRoles)
	for i, role := range roles {
		if role.Enabled && off(role) {
			roles[i].Enabled = false
			words = append(words, "disable the app role "+role.Value+", in order to change or remove it")
		}
	}
	if len(words) == 0 {
		return nil
	}
	s := r.patch(o, appaccess.ActionChange, words, ApplicationPatch{AppRoles: &roles})
	write := s.run
	s.run = func(ctx context.Context) error {
		if err := write(ctx); err != nil {
			return err
		}
		return r.await(ctx, o, "wait until the roles read disabled", func(ctx context.Context) (bool, error) {
			apps, errs := readAll(ctx, r, o, []AppRef{{ObjectID: o.app.ObjectID}}, r.applications)
			if errs[0] != nil {
				return false, unlessNotFound(errs[0])
			}
			return !slices.ContainsFunc(apps[0].AppRoles, func(role AppRole) bool { return role.Enabled && off(role) }), nil
		})
	}
	return s
}

func unlessNotFound(err error) error {
	if notFound(err) {
		return nil
	}
	return err
}

// repairedRoles returns all roles of the application, with the product's roles as
// desired, and a description of the changes.
func (o *object) repairedRoles() (roles []AppRole, words []string) {
	roles = slices.Clone(o.app.AppRoles)
	for _, role := range o.product.Roles {
		have := o.findRole(role)
		if have == nil {
			roles = append(roles, desiredRole(role, roleID(o.key, role.Permission)))
			words = append(words, "add the app role "+role.Value)
			continue
		}
		i := slices.IndexFunc(roles, func(a AppRole) bool { return a.ID == have.ID })
		switch {
		case differs(have, role):
			roles[i] = desiredRole(role, have.ID)
			words = append(words, "app role "+have.Value+" to "+role.Value+", for applications only")
		case !have.Enabled:
			roles[i].Enabled = true
			words = append(words, "enable the app role "+have.Value)
		}
	}
	for _, old := range o.obsolete() {
		roles = slices.DeleteFunc(roles, func(a AppRole) bool { return a.ID == old.ID })
		words = append(words, "remove the app role "+old.Value)
	}
	return roles, words
}

// recordRoles records the product's roles in the application. An obsolete role stays
// recorded while a replica may still show it.
func (o *object) recordRoles(fresh bool) {
	var roles []appaccess.Role
	for _, role := range o.product.Roles {
		if have := o.findRole(role); have != nil {
			role.ID = have.ID
			roles = append(roles, role)
		}
	}
	shown := o.obsolete()
	for _, role := range o.entry.Roles {
		if _, desired := o.roleOf(role.Permission); desired {
			continue
		}
		if fresh || slices.ContainsFunc(shown, func(a *AppRole) bool { return a.ID == role.ID }) {
			roles = append(roles, role)
		}
	}
	o.entry.Roles = roles
}

// grantable reports whether a service principal has an enabled role with this ID.
func (sp *ServicePrincipal) grantable(roleID string) bool {
	return sp != nil && slices.ContainsFunc(sp.AppRoles, func(r AppRole) bool { return r.ID == roleID && r.Enabled })
}

// awaitRole waits until the product's service principal shows the role, because Graph
// refuses to grant it earlier. If one client's wait sees the role, the waits of the other
// clients end, too.
func (r *run) awaitRole(ctx context.Context, client, product *object, id string) error {
	if product.sp.grantable(id) || product.showedRole(id) {
		return nil
	}
	return r.await(ctx, client, "wait until "+product.name+" shows its app role", func(ctx context.Context) (bool, error) {
		if product.showedRole(id) {
			return true, nil
		}
		sps, errs := readAll(ctx, r, client, []PrincipalRef{{AppID: product.app.AppID}}, r.servicePrincipals)
		if errs[0] != nil {
			return false, unlessNotFound(errs[0])
		}
		if !sps[0].grantable(id) {
			return false, nil
		}
		product.role.Lock()
		defer product.role.Unlock()
		product.rolesShown = append(product.rolesShown, id)
		return true, nil
	})
}

func (o *object) showedRole(id string) bool {
	o.role.Lock()
	defer o.role.Unlock()
	return slices.Contains(o.rolesShown, id)
}

// roleToGrant returns the ID of a permission's role.
func (o *object) roleToGrant(permission string) string {
	role, _ := o.roleOf(permission)
	if have := o.findRole(role); have != nil && permission != "" {
		return have.ID
	}
	if role.ID != "" {
		return role.ID
	}
	return roleID(o.key, permission)
}
