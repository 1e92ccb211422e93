package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// Adoption: the reconciler manages an application that somebody else created. The
// application keeps its display name, its description and its token version, because
// its present callers rely on them, unless the operator asks for a change. Before its
// first write the reconciler records what it is going to change, and restores that when
// it releases the application. Only the unique name stays, because Graph does not let
// anybody change or remove a unique name.

// original holds the properties of an application before its adoption.
type original struct {
	Changes appaccess.AdoptChanges `json:"changes,omitzero"` // changes that the operator asked for

	DisplayName  string `json:"displayName"`
	Description  string `json:"description,omitempty"`
	TokenVersion int    `json:"tokenVersion,omitempty"` // 0: null
	ClaimIDType  bool   `json:"claimIdtyp,omitempty"`   // access tokens had the claim idtyp
	URI          bool   `json:"uri,omitempty"`          // api://{appId} was an identifier URI
	Disabled     bool   `json:"disabled,omitempty"`     // isDisabled
	// Roles are all app roles. The release restores those that the product uses.
	Roles []AppRole `json:"roles,omitempty"`

	Principal          bool `json:"principal,omitempty"` // it had a service principal
	PrincipalDisabled  bool `json:"principalDisabled,omitempty"`
	AssignmentRequired bool `json:"assignmentRequired,omitempty"`
}

// adopted reports whether the application was adopted, or is to be adopted.
func (o *object) adopted() bool { return o.entry.Adopted || o.adopt() != "" }

// adoptChanges returns the changes to the adopted application that the operator asked
// for.
func (o *object) adoptChanges() appaccess.AdoptChanges {
	switch {
	case o.product != nil && o.product.Adopt != "":
		return o.product.AdoptChanges
	case o.client != nil && o.client.Adopt != "":
		return o.client.AdoptChanges
	case o.entry.Original != nil:
		return o.entry.Original.Changes
	}
	return appaccess.AdoptChanges{}
}

// names reports whether the reconciler sets display name and description.
func (o *object) names() bool { return !o.adopted() || o.adoptChanges().Rename }

// versions reports whether the reconciler sets the token version.
func (o *object) versions() bool { return !o.adopted() || o.adoptChanges().TokenVersion2 }

// remember records the application's properties before the first write of its adoption.
func (o *object) remember() {
	if o.adopt() == "" || o.app == nil {
		return
	}
	if o.entry.Original == nil || !o.entry.Removed.IsZero() {
		o.entry.Original = &original{
			DisplayName: o.app.DisplayName, Description: o.app.Description, TokenVersion: o.app.AccessTokenVersion,
			ClaimIDType: slices.Contains(o.app.AccessTokenClaims, claimIDType),
			URI:         slices.Contains(o.app.IdentifierURIs, identifierURI(o.app.AppID)),
			Disabled:    o.app.Disabled, Roles: o.app.AppRoles, Principal: o.sp != nil,
		}
		if o.sp != nil {
			o.entry.Original.PrincipalDisabled, o.entry.Original.AssignmentRequired = !o.sp.AccountEnabled, o.sp.AssignmentRequired
		}
	}
	o.entry.Original.Changes = o.adoptChanges()
	o.entry.Adopted = true
}

// adoptionWords describes the application, and the properties that adoption does not
// change although the desired state has others.
func (o *object) adoptionWords() []string {
	words := []string{"application " + quoted(o.app.DisplayName) + " (client ID " + o.app.AppID + ")"}
	if !o.names() && o.app.DisplayName != o.displayName() {
		words = append(words, "it keeps its name and description")
	}
	if o.product != nil && !o.versions() && o.app.AccessTokenVersion != tokenVersion {
		words = append(words, fmt.Sprintf("it keeps access token version %d, which the gate must accept", max(o.app.AccessTokenVersion, 1)))
	}
	return words
}

// requireAssignment returns the step that makes Entra issue tokens only to clients with
// an assignment.
func (r *run) requireAssignment(o *object) *step {
	detail := "tokens for assigned clients only (appRoleAssignmentRequired)"
	if o.adopted() {
		detail += "; present callers without an assignment get no more tokens"
	}
	return r.changePrincipal(o, detail, ServicePrincipalPatch{AssignmentRequired: ptr(true)})
}

// findManagers sets managedBy of each object whose application another object of this
// store manages already. It looks only at objects that are to adopt an application.
func (r *run) findManagers(ctx context.Context, objects []*object) {
	adopting := slices.DeleteFunc(slices.Clone(objects), func(o *object) bool {
		return o.adopt() == "" || o.entry.ObjectID != "" || o.app == nil
	})
	if len(adopting) == 0 {
		return
	}
	ids := make([]string, len(adopting))
	for i, o := range adopting {
		ids[i] = o.app.ObjectID
	}
	managers, err := r.e.state.managers(ctx, ids)
	for _, o := range adopting {
		if err != nil {
			o.err = &StateError{err}
		} else if e := managers[o.app.ObjectID]; e.ObjectID != "" && e.Object != o.key {
			o.managedBy = e.Kind + " " + e.ID
		}
	}
}

// nextRelease returns the next step that releases an adopted application: the steps
// remove what the reconciler added and restore what adoption changed.
func (r *run) nextRelease(o *object) *step {
	was := o.entry.Original
	if was == nil {
		was = &original{DisplayName: o.app.DisplayName, Description: o.app.Description, TokenVersion: o.app.AccessTokenVersion, ClaimIDType: true, URI: true, Principal: true, AssignmentRequired: true}
	}
	if s := r.releasePrincipal(o, was); s != nil {
		return s
	}
	var words []string
	var patch ApplicationPatch
	if o.kind == kindProduct {
		if s := r.disableRoles(o, func(a AppRole) bool { return o.madeRole(a.ID) || was.rebuilds(o, a) }); s != nil {
			return s
		}
		words = o.releaseProduct(was, &patch)
	} else if access, changes := r.permissions(o, o.app.RequiredAccess); len(changes) > 0 {
		patch.RequiredAccess = &access
		words = append(words, "API permissions "+strings.Join(changes, ", "))
	}
	if was.Changes.Rename && o.app.DisplayName != was.DisplayName {
		patch.DisplayName = &was.DisplayName
		words = append(words, "rename "+quoted(o.app.DisplayName)+" to "+quoted(was.DisplayName)+" as before")
	}
	if was.Changes.Rename && o.app.Description != was.Description {
		patch.Description = &was.Description
		words = append(words, "the description as before")
	}
	if slices.Contains(o.app.Tags, nameTag(o.key)) {
		patch.Tags = ptr(mergeTags(o.app.Tags))
		words = append(words, "no longer managed; the application was adopted and stays")
	}
	if len(words) == 0 {
		return nil
	}
	return r.patch(o, appaccess.ActionRemove, words, patch)
}

// releasePrincipal returns the next step that restores the service principal, or deletes
// it if adoption created it.
func (r *run) releasePrincipal(o *object, was *original) *step {
	switch {
	case o.sp == nil:
		return nil
	case !was.Principal:
		return r.principalDeletion(o, "service principal of "+quoted(o.app.DisplayName)+", which adoption created")
	case o.entry.Disabled && !was.PrincipalDisabled:
		return r.switchPrincipal(o, true, "enable the service principal again, which was suspended here")
	case o.kind == kindProduct && o.sp.AssignmentRequired && !was.AssignmentRequired:
		return r.changePrincipal(o, "tokens for all clients (appRoleAssignmentRequired false) as before", ServicePrincipalPatch{AssignmentRequired: ptr(false)})
	case o.kind == kindProduct && o.sp.AccountEnabled && was.PrincipalDisabled:
		return r.changePrincipal(o, "disable the service principal (accountEnabled false) as before", ServicePrincipalPatch{AccountEnabled: ptr(false)})
	}
	return nil
}

// releaseProduct adds to patch what restores a product's application, and returns a
// description.
func (o *object) releaseProduct(was *original, patch *ApplicationPatch) (words []string) {
	if roles, changed := was.roles(o); changed {
		patch.AppRoles = &roles
		words = append(words, "the app roles as before")
	}
	if was.Changes.TokenVersion2 && o.app.AccessTokenVersion != was.TokenVersion {
		patch.AccessTokenVersion = &was.TokenVersion
		words = append(words, fmt.Sprintf("access token version %d to %d as before", max(o.app.AccessTokenVersion, 1), max(was.TokenVersion, 1)))
	}
	if !was.ClaimIDType && slices.Contains(o.app.AccessTokenClaims, claimIDType) {
		patch.AccessTokenClaims = ptr(without(o.app.AccessTokenClaims, claimIDType))
		words = append(words, "without the optional access-token claim "+claimIDType)
	}
	if uri := identifierURI(o.app.AppID); !was.URI && slices.Contains(o.app.IdentifierURIs, uri) {
		patch.IdentifierURIs = ptr(without(o.app.IdentifierURIs, uri))
		words = append(words, "without the identifier URI "+uri)
	}
	if was.Disabled && !o.app.Disabled {
		patch.Disabled = ptr(true)
		words = append(words, "deactivate the application (isDisabled true) as before")
	}
	return words
}

// before returns the original form of an app role that existed before adoption and that
// the product uses. The result is false for other roles.
func (was *original) before(o *object, id string) (AppRole, bool) {
	i := slices.IndexFunc(was.Roles, func(a AppRole) bool { return a.ID == id })
	ours := slices.ContainsFunc(o.entry.Roles, func(r appaccess.Role) bool { return r.ID == id })
	if i < 0 || !ours {
		return AppRole{}, false
	}
	return was.Roles[i], true
}

// rebuilds reports whether a role must be disabled before it can be restored.
func (was *original) rebuilds(o *object, a AppRole) bool {
	old, ok := was.before(o, a.ID)
	return ok && (a.Value != old.Value || !slices.Equal(a.AllowedMemberTypes, old.AllowedMemberTypes))
}

// roles returns the app roles that the released application has, and whether they differ
// from the present ones.
func (was *original) roles(o *object) (roles []AppRole, changed bool) {
	for _, a := range o.app.AppRoles {
		old, taken := was.before(o, a.ID)
		switch {
		case taken && !sameRole(a, old):
			roles, changed = append(roles, old), true
		case !taken && o.madeRole(a.ID):
			changed = true
		default:
			roles = append(roles, a)
		}
	}
	return roles, changed
}

func sameRole(a, b AppRole) bool {
	return a.Value == b.Value && a.DisplayName == b.DisplayName && a.Description == b.Description && a.Enabled == b.Enabled &&
		slices.Equal(a.AllowedMemberTypes, b.AllowedMemberTypes)
}

func without(list []string, gone string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == gone })
}
