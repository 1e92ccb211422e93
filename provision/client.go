package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// The desired properties of a client application, and the steps that reach them.

func (r *run) newClient(o *object) ApplicationPatch {
	access, _ := r.permissions(o, nil)
	return ApplicationPatch{
		UniqueName:     &o.key,
		DisplayName:    &o.client.ApplicationName,
		Description:    ptr(o.about()),
		SignInAudience: ptr(singleTenant),
		Tags:           ptr(mergeTags(nil, o.tags()...)),
		RequiredAccess: &access,
	}
}

// about is the description. It contains the client's own name, because the display
// name does not.
func (o *object) about() string {
	c := o.client
	if c.Name == "" || c.Description == "" {
		return clip(c.Name+c.Description, maxAbout)
	}
	return clip(c.Name+": "+c.Description, maxAbout)
}

// nextOfClient revokes access first and grants it last.
func (r *run) nextOfClient(o *object) (*step, error) {
	for _, f := range []func(*object) *step{r.nextSuspension, r.nextRevocation, r.nextUnwantedCredential, r.nextClientChange} {
		if s := f(o); s != nil {
			return s, nil
		}
	}
	if o.sp == nil {
		return r.nextPrincipal(o, "service principal of "+quoted(o.app.DisplayName), ServicePrincipalPatch{AccountEnabled: ptr(!o.client.Disabled)}), nil
	}
	return r.nextGrant(o)
}

// nextSuspension disables and enables the service principal. It does not enable a
// service principal that somebody else disabled.
func (r *run) nextSuspension(o *object) *step {
	switch {
	case o.sp == nil:
		return nil
	case o.client.Disabled && (o.sp.AccountEnabled || o.rewriteApp && !o.entry.Disabled):
		return r.switchPrincipal(o, false, "suspend: no more tokens (accountEnabled false)")
	case !o.client.Disabled && o.entry.Disabled:
		return r.switchPrincipal(o, true, "resume: tokens again (accountEnabled true)")
	}
	return nil
}

func (r *run) switchPrincipal(o *object, enabled bool, detail string) *step {
	s := r.changePrincipal(o, detail, ServicePrincipalPatch{AccountEnabled: &enabled})
	model := s.model
	s.model = func() {
		model()
		o.entry.Disabled = !enabled
	}
	return s
}

// undesired returns the recorded and revoked grants that are not desired, or that
// name a former role or service principal of the product.
func (r *run) undesired(o *object) []recordedGrant {
	var un []recordedGrant
	ours := slices.Clone(o.entry.Grants)
	for _, x := range o.entry.Revoking {
		if x.Grant != nil && o.recorded(*x.Grant) == nil {
			ours = append(ours, *x.Grant)
		}
	}
	for _, g := range ours {
		p := r.productOf(o, g.ProductID)
		if o.desires(g) && (p == nil || p.err != nil || p.app == nil || g.same(p.grant(g.Permission))) {
			continue
		}
		un = append(un, g)
	}
	return un
}

// desires reports whether the permission of a grant is desired.
func (o *object) desires(g recordedGrant) bool {
	return slices.ContainsFunc(o.clientGrants(), func(d appaccess.Grant) bool {
		return d.Product == g.ProductID && slices.Contains(d.Permissions, g.Permission)
	})
}

// desiredGrants returns the desired grants of products that Entra shows.
func (r *run) desiredGrants(o *object) []recordedGrant {
	var grants []recordedGrant
	for _, d := range o.clientGrants() {
		p := r.productOf(o, d.Product)
		if p.err != nil || p.app == nil {
			continue
		}
		for _, permission := range d.Permissions {
			grants = append(grants, p.grant(permission))
		}
	}
	return grants
}

// grant returns the grant of a product's permission, with the product's present
// IDs.
func (o *object) grant(permission string) recordedGrant {
	g := recordedGrant{ProductID: o.id, Permission: permission, RoleID: o.roleToGrant(permission)}
	if o.app != nil {
		g.ResourceAppID = o.app.AppID
	}
	if o.sp != nil {
		g.ResourceID = o.sp.ObjectID
	}
	return g
}

// recorded is the grant of the entry that is the same as g; nil: there is none.
func (o *object) recorded(g recordedGrant) *recordedGrant {
	for i := range o.entry.Grants {
		if o.entry.Grants[i].same(g) {
			return &o.entry.Grants[i]
		}
	}
	return nil
}

func (o *object) forgetGrant(g recordedGrant) {
	o.entry.Grants = slices.DeleteFunc(slices.Clone(o.entry.Grants), g.same)
}

// nextRevocation revokes a grant that is not desired. A grant that does not show
// is deleted once by its recorded ID, because the replica may lag.
func (r *run) nextRevocation(o *object) *step {
	for _, g := range r.undesired(o) {
		i := slices.IndexFunc(o.assignments, func(a Assignment) bool { return a.ResourceID == g.ResourceID && a.RoleID == g.RoleID })
		switch {
		case i >= 0:
			return r.revokeStep(o, g, i)
		case g.AssignmentID != "" && !o.desires(g) && o.revoking(revocation{Grant: &g}) < 0:
			return r.revokeUnseen(o, g)
		}
	}
	return nil
}

func (r *run) revokeStep(o *object, g recordedGrant, i int) *step {
	a := o.assignments[i]
	return &step{
		action: appaccess.ActionRevoke, detail: r.words(o, g), op: opUnassign,
		run: func(ctx context.Context) error {
			return r.remove(ctx, o, r.e.grants, opUnassign, revocation{Grant: &g}, func(ctx context.Context) error {
				return r.e.grants.Unassign(ctx, a.ResourceID, a.ID)
			})
		},
		model: func() {
			o.assignments = slices.Delete(slices.Clone(o.assignments), i, i+1)
			r.revoke(o, revocation{Grant: &g})
		},
	}
}

func (r *run) revokeUnseen(o *object, g recordedGrant) *step {
	x := revocation{Grant: &g}
	return &step{
		action: appaccess.ActionRevoke, detail: r.words(o, g) + ", which no read shows", op: opUnassign,
		run: func(ctx context.Context) error {
			err := r.remove(ctx, o, r.e.grants, opUnassign, x, func(ctx context.Context) error {
				return r.e.grants.Unassign(ctx, g.ResourceID, g.AssignmentID)
			})
			if errors.Is(err, errStale) { // "not found" proves nothing: later reads confirm it
				r.deletionAnswered(o, x, false)
				return nil
			}
			return err
		},
		model: func() { r.revoke(o, x) },
	}
}

// words describes a grant in a plan.
func (r *run) words(o *object, g recordedGrant) string {
	if p := r.productOf(o, g.ProductID); p != nil {
		if role, _ := p.roleOf(g.Permission); role.Value != "" {
			return role.Value + " of product " + g.ProductID
		}
	}
	return "the permission " + g.Permission + " of product " + g.ProductID
}

func (r *run) nextClientChange(o *object) *step {
	action, words, patch := o.common(o.about())
	if access, changes := r.permissions(o, o.app.RequiredAccess); len(changes) > 0 || o.rewriteApp {
		patch.RequiredAccess = &access
		words = append(words, "API permissions "+strings.Join(changes, ", "))
	}
	if len(words) == 0 {
		return nil
	}
	return r.patch(o, action, o.worded(words), patch)
}

// permissions adds our API permissions to those of the application, removes
// undesired ones of ours, and describes the changes.
func (r *run) permissions(o *object, have []RequiredAccess) ([]RequiredAccess, []string) {
	access := make([]RequiredAccess, len(have))
	for i, a := range have {
		access[i] = a
		access[i].Roles = slices.Clone(a.Roles)
	}
	var changes []string
	for _, g := range r.undesired(o) {
		if r.stillRequested(o, g) {
			continue
		}
		if i := indexOf(access, g.ResourceAppID); i >= 0 && slices.Contains(access[i].Roles, g.RoleID) {
			access[i].Roles = slices.DeleteFunc(access[i].Roles, func(id string) bool { return id == g.RoleID })
			changes = append(changes, "without "+r.words(o, g))
		}
	}
	for _, g := range r.desiredGrants(o) {
		if requests(access, g.ResourceAppID, g.RoleID) {
			continue
		}
		i := indexOf(access, g.ResourceAppID)
		if i < 0 {
			i = len(access)
			access = append(access, RequiredAccess{ResourceAppID: g.ResourceAppID})
		}
		access[i].Roles = append(access[i].Roles, g.RoleID)
		changes = append(changes, "with "+r.words(o, g))
	}
	access = slices.DeleteFunc(access, func(a RequiredAccess) bool { return len(a.Roles)+len(a.Scopes)+len(a.Others) == 0 })
	return access, changes
}

// stillRequested reports whether the permission of an undesired grant is still
// desired: the product may have a new service principal and the same application.
func (r *run) stillRequested(o *object, g recordedGrant) bool {
	return slices.ContainsFunc(r.desiredGrants(o), func(d recordedGrant) bool {
		return d.ResourceAppID == g.ResourceAppID && d.RoleID == g.RoleID
	})
}

func indexOf(access []RequiredAccess, resourceAppID string) int {
	return slices.IndexFunc(access, func(a RequiredAccess) bool { return strings.EqualFold(a.ResourceAppID, resourceAppID) })
}

func requests(access []RequiredAccess, resourceAppID, roleID string) bool {
	i := indexOf(access, resourceAppID)
	return i >= 0 && slices.Contains(access[i].Roles, roleID)
}

// nextGrant grants what is desired. It skips products that failed, and returns
// their error when no other grant is missing.
func (r *run) nextGrant(o *object) (*step, error) {
	var failed error
	for _, d := range o.clientGrants() {
		p := r.productOf(o, d.Product)
		for _, permission := range d.Permissions {
			if err := p.ungrantable(permission); err != nil {
				failed = errors.Join(failed, &Error{Kind: kindOf(err), Op: string(opAssign), Object: o.name, Err: fmt.Errorf("%s: %w", p.name, err)})
				continue
			}
			g := p.grant(permission)
			if !o.granted[g] && (o.rewriteGrants || o.revoking(revocation{Grant: &g}) >= 0 || !o.holds(g.ResourceID, g.RoleID)) {
				return r.grantStep(o, p, g), nil
			}
		}
	}
	return nil, failed
}

// ungrantable returns why a permission of a product cannot be granted; nil: it
// can.
func (o *object) ungrantable(permission string) error {
	switch {
	case o.err != nil:
		return o.err
	case o.toBeDeleted():
		return errors.New("is to be removed")
	case o.app == nil || o.sp == nil:
		return errors.New("is not complete in Entra: apply it first")
	}
	if _, ok := o.roleOf(permission); !ok {
		return fmt.Errorf("has no permission %q in Entra: apply the product first", permission)
	}
	return nil
}

func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Permanent
}

func (r *run) grantStep(o, product *object, g recordedGrant) *step {
	a := Assignment{PrincipalID: o.sp.ObjectID, ResourceID: g.ResourceID, RoleID: g.RoleID}
	return &step{
		action: appaccess.ActionGrant, detail: r.words(o, g), op: opAssign,
		run: func(ctx context.Context) error {
			if err := r.awaitRole(ctx, o, product, g.RoleID); err != nil {
				return err
			}
			if product.lagsUntil.After(o.lagsUntil) {
				o.lagsUntil = product.lagsUntil // the grant concerns both
			}
			err := r.write(ctx, o, r.e.grants, opAssign, func(ctx context.Context) error {
				made, err := r.e.grants.Assign(ctx, a)
				a.ID = made.ID
				return err
			})
			if g := o.recorded(g); err == nil && g != nil && a.ID != "" {
				g.AssignmentID = a.ID // saved with the next record
			}
			if i := o.revoking(revocation{Grant: &g}); err == nil && i >= 0 {
				o.entry.Revoking = slices.Delete(slices.Clone(o.entry.Revoking), i, i+1)
			}
			return err
		},
		model: func() {
			if o.granted == nil {
				o.granted = map[recordedGrant]bool{}
			}
			o.granted[g] = true
			if !o.holds(a.ResourceID, a.RoleID) {
				o.assignments = append(slices.Clone(o.assignments), a)
			}
		},
	}
}
