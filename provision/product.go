package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// What a product's application must be, and the steps that make it so.

const (
	singleTenant = "AzureADMyOrg"
	tokenVersion = 2
	claimIDType  = "idtyp"
	// roleText is shown in Entra's pages. It does not follow the product's
	// description: an enabled role cannot be changed without an interruption.
	roleText = "Call the APIs of the product."
)

func identifierURI(appID string) string { return "api://" + appID }

// newProduct is the application as it is created. Its identifier URI needs the
// appId that Entra gives it, and a Directory reads optional claims before it
// sets them, which not every identity may do of what does not stand yet: a
// second step sets both.
func (r *run) newProduct(o *object) ApplicationPatch {
	return ApplicationPatch{
		DisplayName:        &o.product.ApplicationName,
		Description:        ptr(clip(o.product.Description, maxAbout)),
		SignInAudience:     ptr(singleTenant),
		Tags:               ptr(mergeTags(nil, o.tags()...)),
		AppRoles:           ptr([]AppRole{o.wantedRole(roleID(o.key))}),
		AccessTokenVersion: ptr(tokenVersion),
	}
}

func (o *object) tags() []string {
	if o.client != nil {
		return []string{proof(o.key), ownerTag(o.client.OwnerID)}
	}
	return []string{proof(o.key)}
}

func (o *object) wantedRole(id string) AppRole {
	return AppRole{
		ID: id, Value: o.product.Role, DisplayName: o.product.Role, Description: roleText,
		Enabled: true, AllowedMemberTypes: []string{"Application"},
	}
}

// ownRole is the index of the role that is ours: by its ID, or, of an adopted
// application or one whose role was made anew by hand, by its value. -1: none.
func (o *object) ownRole() int {
	for _, id := range []string{roleID(o.key), o.entry.RoleID} {
		if i := slices.IndexFunc(o.app.AppRoles, func(r AppRole) bool { return r.ID == id }); i >= 0 && id != "" {
			return i
		}
	}
	if o.product == nil {
		return -1
	}
	return slices.IndexFunc(o.app.AppRoles, func(r AppRole) bool { return r.Value == o.product.Role })
}

func (r *run) nextOfProduct(o *object) *step {
	if s := r.nextRoleChange(o); s != nil {
		return s
	}
	action, words, patch := o.common(clip(o.product.Description, maxAbout))
	if o.app.AccessTokenVersion != tokenVersion {
		patch.AccessTokenVersion = ptr(tokenVersion)
		words = append(words, fmt.Sprintf("access token version %d to %d", max(o.app.AccessTokenVersion, 1), tokenVersion))
	}
	if !slices.Contains(o.app.AccessTokenClaims, claimIDType) {
		patch.AccessTokenClaims = ptr(append(slices.Clone(o.app.AccessTokenClaims), claimIDType))
		words = append(words, "add the optional access-token claim "+claimIDType)
	}
	if uri := identifierURI(o.app.AppID); !slices.Contains(o.app.IdentifierURIs, uri) {
		patch.IdentifierURIs = ptr(append(slices.Clone(o.app.IdentifierURIs), uri))
		words = append(words, "add the identifier URI "+uri)
	}
	if roles, word := o.mendedRoles(); word != "" {
		patch.AppRoles = &roles
		words = append(words, word)
	}
	if len(words) > 0 {
		return r.patch(o, action, o.worded(words), patch)
	}
	required := ServicePrincipalPatch{AssignmentRequired: ptr(true)}
	switch {
	case o.sp == nil:
		return r.nextPrincipal(o, "service principal of "+quoted(o.app.DisplayName)+", for assigned clients only", required)
	case !o.sp.AssignmentRequired:
		return r.changePrincipal(o, "tokens for assigned clients only (appRoleAssignmentRequired)", required)
	}
	return nil
}

// common is what products and clients share: display name, description, tags,
// audience and, once, the unique name of an adopted application.
func (o *object) common(description string) (appaccess.Action, []string, ApplicationPatch) {
	var words []string
	var patch ApplicationPatch
	action := appaccess.ActionChange
	if !slices.Contains(o.app.Tags, proof(o.key)) {
		words = append(words, "mark as managed by "+o.key)
		if o.adopt() != "" {
			action = appaccess.ActionAdopt
			words[0] = "application " + quoted(o.app.DisplayName) + " (client ID " + o.app.AppID + ")"
		}
		if o.app.UniqueName == "" {
			patch.UniqueName = &o.key
		}
	} else if tags := mergeTags(o.app.Tags, o.tags()...); o.unsure || !sameSet(tags, o.app.Tags) {
		words = append(words, "set the tags")
	}
	if len(words) > 0 {
		patch.Tags = ptr(mergeTags(o.app.Tags, o.tags()...))
	}
	if name := o.displayName(); o.unsure || o.app.DisplayName != name {
		patch.DisplayName = &name
		words = append(words, "rename "+quoted(o.app.DisplayName)+" to "+quoted(name))
	}
	if o.unsure || o.app.Description != description {
		patch.Description = &description
		words = append(words, "set the description")
	}
	if !o.entry.Adopted && o.adopt() == "" && o.app.SignInAudience != singleTenant {
		patch.SignInAudience = ptr(singleTenant)
		words = append(words, "sign-in audience "+o.app.SignInAudience+" to "+singleTenant)
	}
	return action, words, patch
}

// worded says what a change is for when the state that it starts from may be old.
func (o *object) worded(words []string) []string {
	if o.unsure {
		return []string{"write again what replicas may not show yet"}
	}
	return words
}

// roleDiffers: what only a disabled role lets change.
func (o *object) roleDiffers(have AppRole) bool {
	return have.Value != o.product.Role || !slices.Equal(have.AllowedMemberTypes, []string{"Application"})
}

// nextRoleChange disables a role that is to be changed: Entra changes no
// enabled one.
func (r *run) nextRoleChange(o *object) *step {
	i := o.ownRole()
	if i < 0 || !o.app.AppRoles[i].Enabled || !o.roleDiffers(o.app.AppRoles[i]) {
		return nil
	}
	detail := "disable the app role " + o.app.AppRoles[i].Value + ", in order to change it"
	return r.disableRole(o, i, detail)
}

func (r *run) disableRole(o *object, i int, detail string) *step {
	roles := slices.Clone(o.app.AppRoles)
	roles[i].Enabled = false
	id := roles[i].ID
	s := r.patch(o, appaccess.ActionChange, []string{detail}, ApplicationPatch{AppRoles: &roles})
	write := s.run
	s.run = func(ctx context.Context) error {
		if err := write(ctx); err != nil {
			return err
		}
		return r.await(ctx, o, "wait until the role reads disabled", func(ctx context.Context) (bool, error) {
			apps, errs := readAll(ctx, r, o, []AppRef{{ObjectID: o.app.ObjectID}}, r.applications)
			if errs[0] != nil && !notFound(errs[0]) {
				return false, errs[0]
			}
			return !slices.ContainsFunc(apps[0].AppRoles, func(r AppRole) bool { return r.ID == id && r.Enabled }) && errs[0] == nil, nil
		})
	}
	return s
}

// mendedRoles are all roles of the application with ours as wanted; the word
// is empty if it is so already.
func (o *object) mendedRoles() ([]AppRole, string) {
	roles := slices.Clone(o.app.AppRoles)
	i := o.ownRole()
	if i < 0 {
		return append(roles, o.wantedRole(roleID(o.key))), "add the app role " + o.product.Role
	}
	have := roles[i]
	switch {
	case o.roleDiffers(have):
		roles[i] = o.wantedRole(have.ID)
		return roles, "app role " + have.Value + " to " + o.product.Role + ", for applications only"
	case !have.Enabled:
		roles[i].Enabled = true
		return roles, "enable the app role " + have.Value
	}
	return nil, ""
}

// grantable reports whether a service principal carries a role that can be granted.
func (sp *ServicePrincipal) grantable(roleID string) bool {
	return sp != nil && slices.ContainsFunc(sp.AppRoles, func(r AppRole) bool { return r.ID == roleID && r.Enabled })
}

// awaitRole waits, once a product and run, until its service principal shows
// the role: before that it cannot be granted.
func (r *run) awaitRole(ctx context.Context, client, product *object) error {
	product.role.Lock()
	defer product.role.Unlock()
	id := product.roleToGrant()
	if product.roleShown || product.sp.grantable(id) {
		product.roleShown = true
		return nil
	}
	err := r.await(ctx, client, "wait until "+product.name+" shows its app role", func(ctx context.Context) (bool, error) {
		sps, errs := readAll(ctx, r, client, []string{product.app.AppID}, r.servicePrincipals)
		if errs[0] != nil && !notFound(errs[0]) {
			return false, errs[0]
		}
		return errs[0] == nil && sps[0].grantable(id), nil
	})
	product.roleShown = err == nil
	return err
}

func (o *object) roleToGrant() string {
	if o.app != nil {
		if i := o.ownRole(); i >= 0 {
			return o.app.AppRoles[i].ID
		}
	}
	if o.entry.RoleID != "" {
		return o.entry.RoleID
	}
	return roleID(o.key)
}

func (o *object) roleValue() string {
	if o.product != nil && o.product.Role != "" {
		return o.product.Role
	}
	return o.entry.Role
}

func ptr[T any](v T) *T { return &v }

// sameSet compares without regard to order or case.
func sameSet(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for _, s := range a {
		if !slices.ContainsFunc(b, func(t string) bool { return strings.EqualFold(s, t) }) {
			return false
		}
	}
	return true
}

func (p ApplicationPatch) apply(a *Application) {
	set(&a.UniqueName, p.UniqueName)
	set(&a.DisplayName, p.DisplayName)
	set(&a.Description, p.Description)
	set(&a.SignInAudience, p.SignInAudience)
	set(&a.IdentifierURIs, p.IdentifierURIs)
	set(&a.Tags, p.Tags)
	set(&a.AppRoles, p.AppRoles)
	set(&a.RequiredAccess, p.RequiredAccess)
	set(&a.Keys, p.Keys)
	set(&a.AccessTokenVersion, p.AccessTokenVersion)
	set(&a.AccessTokenClaims, p.AccessTokenClaims)
}

func (p ServicePrincipalPatch) apply(s *ServicePrincipal) {
	set(&s.AccountEnabled, p.AccountEnabled)
	set(&s.AssignmentRequired, p.AssignmentRequired)
	set(&s.Tags, p.Tags)
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}
