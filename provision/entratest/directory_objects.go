package entratest

import (
	"context"
	"net/http"
	"net/url"

	"github.com/golang-jwt/jwt/v5"

	"github.com/entragate/entragate/provision"
)

const (
	selectApplication = "?$select=id,appId,uniqueName,displayName,description,signInAudience,identifierUris,tags,appRoles," +
		"requiredResourceAccess,passwordCredentials,keyCredentials,api,optionalClaims"
	selectPrincipal = "?$select=id,appId,displayName,accountEnabled,appRoleAssignmentRequired,tags,appRoles"
)

// convert turns what was read without an error.
func convert[A, B any](from []A, errs []error, f func(A) B) ([]B, []error) {
	to := make([]B, len(from))
	for i := range from {
		if errs[i] == nil {
			to[i] = f(from[i])
		}
	}
	return to, errs
}

// mapped is a slice with each element turned.
func mapped[A, B any](from []A, f func(A) B) []B {
	var to []B
	for _, v := range from {
		to = append(to, f(v))
	}
	return to
}

func refPath(r provision.AppRef) string {
	switch {
	case r.ObjectID != "":
		return "/applications/" + url.PathEscape(r.ObjectID)
	case r.AppID != "":
		return "/applications(appId=" + quote(r.AppID) + ")"
	}
	return "/applications(uniqueName=" + quote(r.UniqueName) + ")"
}

// Applications implements provision.Directory.
func (d *Directory) Applications(ctx context.Context, refs []provision.AppRef) ([]provision.Application, []error) {
	read, errs := get[application](ctx, d, mapped(refs, func(r provision.AppRef) string { return refPath(r) + selectApplication }))
	return convert(read, errs, fromApplication)
}

// ServicePrincipals implements provision.Directory.
func (d *Directory) ServicePrincipals(ctx context.Context, appIDs []string) ([]provision.ServicePrincipal, []error) {
	read, errs := get[servicePrincipal](ctx, d, mapped(appIDs, func(id string) string {
		return "/servicePrincipals(appId=" + quote(id) + ")" + selectPrincipal
	}))
	return convert(read, errs, fromPrincipal)
}

// Assignments implements provision.Directory.
func (d *Directory) Assignments(ctx context.Context, ids []string) ([][]provision.Assignment, []error) {
	return d.assignments(ctx, ids, "/appRoleAssignments")
}

// AssignedTo implements provision.Directory.
func (d *Directory) AssignedTo(ctx context.Context, ids []string) ([][]provision.Assignment, []error) {
	return d.assignments(ctx, ids, "/appRoleAssignedTo")
}

func (d *Directory) assignments(ctx context.Context, ids []string, end string) ([][]provision.Assignment, []error) {
	read, errs := pages[assignment](ctx, d, mapped(ids, func(id string) string {
		return "/servicePrincipals/" + url.PathEscape(id) + end
	}))
	return convert(read, errs, func(list []assignment) []provision.Assignment { return mapped(list, fromAssignment) })
}

var createIfMissing = map[string]string{"Prefer": "create-if-missing"}

// UpsertApplication implements provision.Directory.
func (d *Directory) UpsertApplication(ctx context.Context, uniqueName string, p provision.ApplicationPatch) (provision.Application, bool, error) {
	path := refPath(provision.AppRef{UniqueName: uniqueName})
	body, err := d.applicationBody(ctx, path, p)
	if err != nil {
		return provision.Application{}, false, err
	}
	var a application
	status, err := d.do(ctx, request{http.MethodPatch, path, body, createIfMissing}, &a)
	if err != nil || status != http.StatusCreated {
		return provision.Application{}, false, err
	}
	return fromApplication(a), true, nil
}

// PatchApplication implements provision.Directory.
func (d *Directory) PatchApplication(ctx context.Context, objectID string, p provision.ApplicationPatch) error {
	path := refPath(provision.AppRef{ObjectID: objectID})
	body, err := d.applicationBody(ctx, path, p)
	if err != nil {
		return err
	}
	_, err = d.do(ctx, request{method: http.MethodPatch, path: path, body: body}, nil)
	return err
}

// UpsertServicePrincipal implements provision.Directory.
func (d *Directory) UpsertServicePrincipal(ctx context.Context, appID string, p provision.ServicePrincipalPatch) (provision.ServicePrincipal, bool, error) {
	body := map[string]any{}
	put(body, "accountEnabled", p.AccountEnabled)
	put(body, "appRoleAssignmentRequired", p.AssignmentRequired)
	put(body, "tags", p.Tags)
	var sp servicePrincipal
	status, err := d.do(ctx, request{http.MethodPatch, "/servicePrincipals(appId=" + quote(appID) + ")", body, createIfMissing}, &sp)
	if err != nil || status != http.StatusCreated {
		return provision.ServicePrincipal{}, false, err
	}
	return fromPrincipal(sp), true, nil
}

// Assign implements provision.Directory.
func (d *Directory) Assign(ctx context.Context, a provision.Assignment) (provision.Assignment, error) {
	var g assignment
	_, err := d.do(ctx, request{
		method: http.MethodPost, path: "/servicePrincipals/" + url.PathEscape(a.ResourceID) + "/appRoleAssignedTo",
		body: map[string]any{"principalId": a.PrincipalID, "resourceId": a.ResourceID, "appRoleId": a.RoleID},
	}, &g)
	if err != nil {
		return provision.Assignment{}, err
	}
	return fromAssignment(g), nil
}

// Unassign implements provision.Directory.
func (d *Directory) Unassign(ctx context.Context, resourceID, assignmentID string) error {
	path := "/servicePrincipals/" + url.PathEscape(resourceID) + "/appRoleAssignedTo/" + url.PathEscape(assignmentID)
	_, err := d.do(ctx, request{method: http.MethodDelete, path: path}, nil)
	return err
}

// AddPassword implements provision.Directory.
func (d *Directory) AddPassword(ctx context.Context, objectID string, p provision.PasswordRequest) (provision.Password, error) {
	in := map[string]any{"displayName": p.DisplayName}
	if !p.Start.IsZero() {
		in["startDateTime"] = p.Start.UTC()
	}
	if !p.End.IsZero() {
		in["endDateTime"] = p.End.UTC()
	}
	var out passwordCredential
	path := refPath(provision.AppRef{ObjectID: objectID}) + "/addPassword"
	if _, err := d.do(ctx, request{method: http.MethodPost, path: path, body: map[string]any{"passwordCredential": in}}, &out); err != nil {
		return provision.Password{}, err
	}
	return fromPassword(out), nil
}

// RemovePassword implements provision.Directory.
func (d *Directory) RemovePassword(ctx context.Context, objectID, keyID string) error {
	path := refPath(provision.AppRef{ObjectID: objectID}) + "/removePassword"
	_, err := d.do(ctx, request{method: http.MethodPost, path: path, body: map[string]any{"keyId": keyID}}, nil)
	return err
}

func federatedPath(objectID string) string {
	return refPath(provision.AppRef{ObjectID: objectID}) + "/federatedIdentityCredentials"
}

// FederatedCredentials implements provision.Directory.
func (d *Directory) FederatedCredentials(ctx context.Context, objectID string) ([]provision.FederatedCredential, error) {
	read, errs := pages[federatedCredential](ctx, d, []string{federatedPath(objectID)})
	return mapped(read[0], fromFederated), errs[0]
}

// AddFederatedCredential implements provision.Directory.
func (d *Directory) AddFederatedCredential(ctx context.Context, objectID string, f provision.FederatedCredential) (provision.FederatedCredential, error) {
	in := map[string]any{"name": f.Name, "issuer": f.Issuer, "subject": f.Subject, "audiences": f.Audiences}
	if f.Description != "" {
		in["description"] = f.Description
	}
	var out federatedCredential
	if _, err := d.do(ctx, request{method: http.MethodPost, path: federatedPath(objectID), body: in}, &out); err != nil {
		return provision.FederatedCredential{}, err
	}
	return fromFederated(out), nil
}

// RemoveFederatedCredential implements provision.Directory.
func (d *Directory) RemoveFederatedCredential(ctx context.Context, objectID, id string) error {
	_, err := d.do(ctx, request{method: http.MethodDelete, path: federatedPath(objectID) + "/" + url.PathEscape(id)}, nil)
	return err
}

// DeletedApplication implements provision.Directory.
func (d *Directory) DeletedApplication(ctx context.Context, ref provision.AppRef) (provision.Application, error) {
	const deleted = "/directory/deletedItems/"
	if ref.ObjectID != "" {
		var a application
		if _, err := d.do(ctx, request{method: http.MethodGet, path: deleted + url.PathEscape(ref.ObjectID)}, &a); err != nil {
			return provision.Application{}, err
		}
		return fromApplication(a), nil
	}
	name, value := "uniqueName", ref.UniqueName
	if ref.AppID != "" {
		name, value = "appId", ref.AppID
	}
	filter := url.Values{"$filter": {name + " eq '" + doubled(value) + "'"}}
	found, errs := pages[application](ctx, d, []string{deleted + "microsoft.graph.application?" + filter.Encode()})
	if errs[0] != nil {
		return provision.Application{}, errs[0]
	}
	if len(found[0]) == 0 {
		return provision.Application{}, &provision.APIError{
			Status: http.StatusNotFound, Code: "Request_ResourceNotFound", Message: "No deleted item is " + ref.String() + ".",
		}
	}
	return fromApplication(found[0][0]), nil
}

// Restore implements provision.Directory.
func (d *Directory) Restore(ctx context.Context, objectID string) error {
	_, err := d.do(ctx, request{method: http.MethodPost, path: "/directory/deletedItems/" + url.PathEscape(objectID) + "/restore"}, nil)
	return err
}

// DeleteApplication implements provision.Directory.
func (d *Directory) DeleteApplication(ctx context.Context, objectID string) error {
	_, err := d.do(ctx, request{method: http.MethodDelete, path: refPath(provision.AppRef{ObjectID: objectID})}, nil)
	return err
}

// DeleteServicePrincipal implements provision.Directory.
func (d *Directory) DeleteServicePrincipal(ctx context.Context, objectID string) error {
	_, err := d.do(ctx, request{method: http.MethodDelete, path: "/servicePrincipals/" + url.PathEscape(objectID)}, nil)
	return err
}

// Identity implements provision.Directory. A caller that may not read its own
// name or directory roles has none in the answer.
func (d *Directory) Identity(ctx context.Context) (provision.Identity, error) {
	token, err := d.access(ctx)
	if err != nil {
		return provision.Identity{}, err
	}
	var claims struct {
		jwt.RegisteredClaims
		ObjectID string   `json:"oid"`
		AppID    string   `json:"appid"`
		TenantID string   `json:"tid"`
		Name     string   `json:"app_displayname"`
		Roles    []string `json:"roles"`
	}
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
		return provision.Identity{}, err // cannot happen: the tenant made it
	}
	id := provision.Identity{
		ObjectID: claims.ObjectID, AppID: claims.AppID, TenantID: claims.TenantID, Name: claims.Name, GraphRoles: claims.Roles,
	}
	type role struct {
		DisplayName string `json:"displayName"`
	}
	roles, errs := pages[role](ctx, d, []string{"/servicePrincipals/" + id.ObjectID + "/transitiveMemberOf/microsoft.graph.directoryRole"})
	if status := statusOf(errs[0]); errs[0] != nil && status != http.StatusForbidden && status != http.StatusNotFound {
		return provision.Identity{}, errs[0]
	}
	id.Roles = mapped(roles[0], func(r role) string { return r.DisplayName })
	return id, nil
}

// applicationBody is a patch as Graph's JSON. A PATCH of optional claims
// replaces those that stand, so they are read first and kept; an application
// that cannot be found has none.
func (d *Directory) applicationBody(ctx context.Context, path string, p provision.ApplicationPatch) (map[string]any, error) {
	body := applicationJSON(p)
	if p.AccessTokenClaims == nil {
		return body, nil
	}
	var stands struct {
		OptionalClaims *optionalClaims `json:"optionalClaims"`
	}
	_, err := d.do(ctx, request{method: http.MethodGet, path: path + "?$select=id,optionalClaims"}, &stands)
	if err != nil && statusOf(err) != http.StatusNotFound {
		return nil, err
	}
	body["optionalClaims"] = withClaims(stands.OptionalClaims, *p.AccessTokenClaims)
	return body, nil
}
