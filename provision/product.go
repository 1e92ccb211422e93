package provision

import (
	"fmt"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// The desired properties of a product's application, and the steps that reach
// them.

const (
	singleTenant = "AzureADMyOrg"
	tokenVersion = 2
	claimIDType  = "idtyp"
)

func identifierURI(appID string) string { return "api://" + appID }

// newProduct is the application for the POST. A later PATCH adds its identifier
// URI and its proof tag, which contain the client ID.
func (r *run) newProduct(o *object) ApplicationPatch {
	return ApplicationPatch{
		UniqueName:         &o.key,
		DisplayName:        &o.product.ApplicationName,
		Description:        ptr(clip(o.product.Description, maxAbout)),
		SignInAudience:     ptr(singleTenant),
		Tags:               ptr(mergeTags(nil, o.tags()...)),
		AppRoles:           ptr(o.newRoles()),
		AccessTokenVersion: ptr(tokenVersion),
		AccessTokenClaims:  ptr([]string{claimIDType}),
	}
}

func (r *run) nextOfProduct(o *object) *step {
	if s := r.nextRoleChange(o); s != nil {
		return s
	}
	action, words, patch := o.common(clip(o.product.Description, maxAbout))
	if o.app.AccessTokenVersion != tokenVersion && o.versions() {
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
	if roles, changes := o.repairedRoles(); len(changes) > 0 {
		patch.AppRoles = &roles
		words = append(words, changes...)
	}
	if o.app.Disabled {
		patch.Disabled = ptr(false)
		words = append(words, "enable the application, which was deactivated (isDisabled false)")
	}
	if len(words) > 0 {
		return r.patch(o, action, o.worded(words), patch)
	}
	required := ServicePrincipalPatch{AssignmentRequired: ptr(true)}
	switch {
	case o.sp == nil:
		return r.nextPrincipal(o, "service principal of "+quoted(o.app.DisplayName)+", for assigned clients only", required)
	case !o.sp.AssignmentRequired:
		return r.requireAssignment(o)
	case !o.sp.AccountEnabled: // every token request for the product fails with AADSTS500014
		return r.changePrincipal(o, "enable the service principal, which was disabled: tokens again (accountEnabled true)", ServicePrincipalPatch{AccountEnabled: ptr(true)})
	}
	return nil
}

// common returns the change that products and clients share: display name,
// description, tags, audience and the unique name of an adopted application.
func (o *object) common(description string) (appaccess.Action, []string, ApplicationPatch) {
	var words []string
	var patch ApplicationPatch
	action := appaccess.ActionChange
	if !slices.Contains(o.app.Tags, nameTag(o.key)) {
		if o.adopt() != "" {
			action = appaccess.ActionAdopt
			words = append(words, o.adoptionWords()...)
		} else {
			words = append(words, "mark as managed by "+o.key)
		}
		if o.app.UniqueName == "" {
			patch.UniqueName = &o.key
		}
	} else if tags := mergeTags(o.app.Tags, o.tags()...); o.rewriteApp || !sameSet(tags, o.app.Tags) {
		words = append(words, map[bool]string{true: "sign the tags", false: "set the tags"}[tagged(o.app.Tags, proofTag) == ""])
	}
	if len(words) > 0 {
		patch.Tags = ptr(mergeTags(o.app.Tags, o.tags()...))
	}
	if name := o.displayName(); o.names() && (o.rewriteApp || o.app.DisplayName != name) {
		patch.DisplayName = &name
		words = append(words, "rename "+quoted(o.app.DisplayName)+" to "+quoted(name))
	}
	if o.names() && (o.rewriteApp || o.app.Description != description) {
		patch.Description = &description
		words = append(words, "set the description")
	}
	if !o.adopted() && o.app.SignInAudience != singleTenant {
		patch.SignInAudience = ptr(singleTenant)
		words = append(words, "sign-in audience "+o.app.SignInAudience+" to "+singleTenant)
	}
	return action, words, patch
}

// worded returns the words of a change, or one general text if all properties are
// written again.
func (o *object) worded(words []string) []string {
	if o.rewriteApp {
		return []string{"write again what replicas may not show yet"}
	}
	return words
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
	set(&a.Disabled, p.Disabled)
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
