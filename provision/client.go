package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// What a client application must be, and the steps that make it so.

func (r *run) newClient(o *object) ApplicationPatch {
	access, _ := r.permissions(o, nil)
	return ApplicationPatch{
		DisplayName:    &o.client.ApplicationName,
		Description:    ptr(o.about()),
		SignInAudience: ptr(singleTenant),
		Tags:           ptr(mergeTags(nil, o.tags()...)),
		RequiredAccess: &access,
	}
}

// about carries the client's own name, which its display name does not.
func (o *object) about() string {
	c := o.client
	if c.Name == "" || c.Description == "" {
		return clip(c.Name+c.Description, maxAbout)
	}
	return clip(c.Name+": "+c.Description, maxAbout)
}

// nextOfClient ends access first and gives it last.
func (r *run) nextOfClient(o *object) (*step, error) {
	for _, f := range []func(*object) *step{r.nextSuspension, r.nextRevocation, r.nextCleanUp, r.nextClientChange} {
		if s := f(o); s != nil {
			return s, nil
		}
	}
	if o.sp == nil {
		return r.nextPrincipal(o, "service principal of "+quoted(o.app.DisplayName), ServicePrincipalPatch{AccountEnabled: ptr(!o.client.Disabled)}), nil
	}
	return r.nextGrant(o)
}

// nextSuspension disables and enables the service principal. One that somebody
// else disabled stays disabled: only what we disabled is enabled again.
func (r *run) nextSuspension(o *object) *step {
	switch {
	case o.sp == nil:
		return nil
	case o.client.Disabled && (o.sp.AccountEnabled || o.unsure && !o.entry.Disabled):
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

// unwanted are the grants of ours that are not wanted as they are.
func (r *run) unwanted(o *object) []Grant {
	var un []Grant
	for _, g := range o.entry.Grants {
		p := r.products[g.ProductID]
		named := !o.client.Absent && slices.Contains(o.client.Products, g.ProductID)
		if named && (p == nil || p.err != nil || p.app == nil || g == p.grant()) {
			continue
		}
		un = append(un, g)
	}
	return un
}

// grant is a product's role as it is granted now.
func (o *object) grant() Grant {
	g := Grant{ProductID: o.id, RoleID: o.roleToGrant()}
	if o.app != nil {
		g.ResourceAppID = o.app.AppID
	}
	if o.sp != nil {
		g.ResourceID = o.sp.ObjectID
	}
	return g
}

func (r *run) nextRevocation(o *object) *step {
	for _, g := range r.unwanted(o) {
		i := slices.IndexFunc(o.assignments, func(a Assignment) bool { return a.ResourceID == g.ResourceID && a.RoleID == g.RoleID })
		if i >= 0 {
			return r.revocation(o, g, i)
		}
	}
	return nil
}

func (r *run) revocation(o *object, g Grant, i int) *step {
	a := o.assignments[i]
	return &step{
		action: appaccess.ActionRevoke, detail: r.words(g), op: opUnassign,
		run: func(ctx context.Context) error {
			return r.write(ctx, o, r.e.grants, opUnassign, func(ctx context.Context) error {
				return r.e.grants.Unassign(ctx, a.ResourceID, a.ID)
			})
		},
		model: func() { o.assignments = slices.Delete(slices.Clone(o.assignments), i, i+1) },
	}
}

// words names a grant for people.
func (r *run) words(g Grant) string {
	if p := r.products[g.ProductID]; p != nil && p.roleValue() != "" {
		return p.roleValue() + " of product " + g.ProductID
	}
	return "the app role of product " + g.ProductID
}

func (r *run) nextClientChange(o *object) *step {
	action, words, patch := o.common(o.about())
	if access, changes := r.permissions(o, o.app.RequiredAccess); len(changes) > 0 || o.unsure {
		patch.RequiredAccess = &access
		words = append(words, "API permissions "+strings.Join(changes, ", "))
	}
	if len(words) == 0 {
		return nil
	}
	return r.patch(o, action, o.worded(words), patch)
}

// permissions merges what we ask for into what is asked for already, and says
// what that changes.
func (r *run) permissions(o *object, have []RequiredAccess) ([]RequiredAccess, []string) {
	access := make([]RequiredAccess, len(have))
	for i, a := range have {
		access[i] = RequiredAccess{ResourceAppID: a.ResourceAppID, Roles: slices.Clone(a.Roles), Scopes: slices.Clone(a.Scopes)}
	}
	var changes []string
	for _, g := range r.unwanted(o) {
		if r.stillAsked(o, g) {
			continue
		}
		if i := indexOf(access, g.ResourceAppID); i >= 0 && slices.Contains(access[i].Roles, g.RoleID) {
			access[i].Roles = slices.DeleteFunc(access[i].Roles, func(id string) bool { return id == g.RoleID })
			changes = append(changes, "without "+r.words(g))
		}
	}
	for _, id := range o.client.Products {
		p := r.products[id]
		if p.err != nil || p.app == nil {
			continue
		}
		g := p.grant()
		if asksFor(access, g.ResourceAppID, g.RoleID) {
			continue
		}
		i := indexOf(access, g.ResourceAppID)
		if i < 0 {
			i = len(access)
			access = append(access, RequiredAccess{ResourceAppID: g.ResourceAppID})
		}
		access[i].Roles = append(access[i].Roles, g.RoleID)
		changes = append(changes, "with "+r.words(g))
	}
	access = slices.DeleteFunc(access, func(a RequiredAccess) bool { return len(a.Roles)+len(a.Scopes) == 0 })
	return access, changes
}

// stillAsked: of a grant that is not wanted as it is, the permission may be:
// a product's service principal may be a new one, its application the same.
func (r *run) stillAsked(o *object, g Grant) bool {
	return !o.client.Absent && slices.ContainsFunc(o.client.Products, func(id string) bool {
		p := r.products[id]
		return p.app != nil && p.grant().ResourceAppID == g.ResourceAppID && p.grant().RoleID == g.RoleID
	})
}

func indexOf(access []RequiredAccess, resourceAppID string) int {
	return slices.IndexFunc(access, func(a RequiredAccess) bool { return strings.EqualFold(a.ResourceAppID, resourceAppID) })
}

func asksFor(access []RequiredAccess, resourceAppID, roleID string) bool {
	i := indexOf(access, resourceAppID)
	return i >= 0 && slices.Contains(access[i].Roles, roleID)
}

// nextGrant grants what is wanted. Products that failed are left out, and make
// the client fail once all else is done.
func (r *run) nextGrant(o *object) (*step, error) {
	var failed error
	for _, id := range o.client.Products {
		p := r.products[id]
		if err := p.ungrantable(); err != nil {
			failed = errors.Join(failed, &Error{Kind: kindOf(err), Op: string(opAssign), Object: o.name, Err: fmt.Errorf("%s: %w", p.name, err)})
			continue
		}
		g := p.grant()
		if !o.granted[id] && (o.regrant || !o.holds(g.ResourceID, g.RoleID)) {
			return r.grantStep(o, p, g), nil
		}
	}
	return nil, failed
}

// ungrantable says why a product cannot be granted.
func (o *object) ungrantable() error {
	switch {
	case o.err != nil:
		return o.err
	case o.absent():
		return errors.New("is to be removed")
	case o.app == nil || o.sp == nil:
		return errors.New("is not complete in Entra: apply it first")
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

func (r *run) grantStep(o, product *object, g Grant) *step {
	a := Assignment{PrincipalID: o.sp.ObjectID, ResourceID: g.ResourceID, RoleID: g.RoleID}
	return &step{
		action: appaccess.ActionGrant, detail: r.words(g), op: opAssign,
		run: func(ctx context.Context) error {
			if err := r.awaitRole(ctx, o, product); err != nil {
				return err
			}
			if product.fresh.After(o.fresh) {
				o.fresh = product.fresh // the grant concerns both
			}
			return r.write(ctx, o, r.e.grants, opAssign, func(ctx context.Context) error {
				made, err := r.e.grants.Assign(ctx, a)
				a.ID = made.ID
				return err
			})
		},
		model: func() {
			if o.granted == nil {
				o.granted = map[string]bool{}
			}
			o.granted[product.id] = true
			if !o.holds(a.ResourceID, a.RoleID) {
				o.assignments = append(slices.Clone(o.assignments), a)
			}
		},
	}
}
