package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/entragate/entragate/appaccess"
)

// Review returns what Entra shows of products and applications, which are named by the
// store's IDs. It does not wait for replication: a change that was just written may be
// missing.
func (e *Reconciler) Review(ctx context.Context, products, applications []string) (appaccess.Review, error) {
	r := e.newRun(nil)
	for _, id := range products {
		o := e.newObject(kindProduct, id)
		o.product = &appaccess.DesiredProduct{ID: id}
		r.objects = append(r.objects, o)
	}
	for _, id := range applications {
		o := e.newObject(kindApplication, id)
		// With Disabled, loadAll reads the service principal itself, too.
		o.client = &appaccess.DesiredApplication{ID: id, Disabled: true}
		r.objects = append(r.objects, o)
	}
	if err := r.loadAll(ctx, r.objects); err != nil {
		return appaccess.Review{}, err
	}
	r.read(ctx, r.objects)
	resources, assigned, err := r.reviewLinks(ctx)
	if err != nil {
		return appaccess.Review{}, err
	}
	held, err := r.heldResources(ctx)
	if err != nil {
		return appaccess.Review{}, err
	}
	var review appaccess.Review
	for _, o := range r.objects {
		if o.err != nil {
			return appaccess.Review{}, o.err
		}
		switch {
		case o.product != nil:
			review.Products = append(review.Products, o.productReview(assigned))
		case o.existing():
			review.Applications = append(review.Applications, o.existingReview(held))
		default:
			review.Applications = append(review.Applications, o.applicationReview(resources))
		}
	}
	return review, nil
}

// reviewLinks reads how many principals are assigned to each product's service principal,
// and the applications for which clients request permissions.
func (r *run) reviewLinks(ctx context.Context) (map[string]Application, map[string]int, error) {
	var sps []string
	var refs []AppRef
	for _, o := range r.objects {
		if o.product != nil && o.sp != nil {
			sps = append(sps, o.sp.ObjectID)
		}
		if o.client != nil && o.app != nil {
			for _, a := range o.app.RequiredAccess {
				if ref := (AppRef{AppID: a.ResourceAppID}); !slices.Contains(refs, ref) {
					refs = append(refs, ref)
				}
			}
		}
	}
	assigned := map[string]int{}
	lists, errs := readAll(ctx, r, nil, sps, r.e.dir.AssignedTo)
	for i, id := range sps {
		if errs[i] != nil && !notFound(errs[i]) {
			return nil, nil, errs[i]
		}
		assigned[id] = len(lists[i])
	}
	resources := map[string]Application{}
	apps, errs := readAll(ctx, r, nil, refs, r.applications)
	for i, ref := range refs {
		if errs[i] == nil {
			resources[strings.ToLower(ref.AppID)] = apps[i]
		} else if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
	}
	return resources, assigned, nil
}

// heldResources reads the service principals on which existing service principals
// hold app roles, by object ID.
func (r *run) heldResources(ctx context.Context) (map[string]ServicePrincipal, error) {
	var refs []PrincipalRef
	for _, o := range r.objects {
		if !o.existing() {
			continue
		}
		for _, a := range o.assignments {
			if ref := (PrincipalRef{ObjectID: a.ResourceID}); !slices.Contains(refs, ref) {
				refs = append(refs, ref)
			}
		}
	}
	found := map[string]ServicePrincipal{}
	sps, errs := readAll(ctx, r, nil, refs, r.servicePrincipals)
	for i, ref := range refs {
		if errs[i] == nil {
			found[ref.ObjectID] = sps[i]
		} else if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return found, nil
}

func (o *object) productReview(assigned map[string]int) appaccess.ProductReview {
	p := appaccess.ProductReview{ProductID: o.id, Found: o.app != nil}
	if o.app == nil {
		return p
	}
	p.Name, p.AppID, p.IdentifierURIs = o.app.DisplayName, o.app.AppID, o.app.IdentifierURIs
	p.AccessTokenVersion = max(o.app.AccessTokenVersion, 1)
	p.OptionalClaimIDType = slices.Contains(o.app.AccessTokenClaims, claimIDType)
	for _, a := range o.app.AppRoles {
		p.AppRoles = append(p.AppRoles, appaccess.RoleReview{ID: a.ID, Value: a.Value, Name: a.DisplayName, Enabled: a.Enabled, Ours: o.madeRole(a.ID) || slices.ContainsFunc(o.entry.Roles, func(r appaccess.Role) bool { return r.ID == a.ID })})
	}
	if o.sp != nil {
		p.ServicePrincipal, p.AssignmentRequired = o.sp.ObjectID, o.sp.AssignmentRequired
		p.Enabled = o.sp.AccountEnabled && !o.sp.Disabled && !o.app.Disabled
		p.AssignedPrincipals = assigned[o.sp.ObjectID]
	}
	return p
}

func (o *object) applicationReview(resources map[string]Application) appaccess.ApplicationReview {
	a := appaccess.ApplicationReview{ApplicationID: o.id, Found: o.app != nil}
	if o.app == nil {
		return a
	}
	a.Name, a.AppID = o.app.DisplayName, o.app.AppID
	if o.sp != nil {
		a.ServicePrincipal, a.Enabled = o.sp.ObjectID, o.sp.AccountEnabled && !o.sp.Disabled && !o.app.Disabled
	}
	for _, access := range o.app.RequiredAccess {
		resource := resources[strings.ToLower(access.ResourceAppID)]
		for _, id := range access.Roles {
			p := appaccess.PermissionReview{ResourceAppID: access.ResourceAppID, Resource: resource.DisplayName, Role: id, Requested: true}
			for _, role := range resource.AppRoles {
				if role.ID == id {
					p.Role = role.Value
				}
			}
			p.Granted = slices.ContainsFunc(o.assignments, func(g Assignment) bool { return g.RoleID == id })
			a.Permissions = append(a.Permissions, p)
		}
	}
	a.Credentials = o.credentials()
	return a
}

// credentials returns all secrets and certificates of the application, whoever added
// them.
func (o *object) credentials() []appaccess.Credential {
	var cs []appaccess.Credential
	for _, p := range o.app.Passwords {
		cs = append(cs, appaccess.Credential{
			ID: p.KeyID, ApplicationID: o.id, Kind: appaccess.SecretCredential, Name: p.DisplayName,
			KeyID: p.KeyID, Hint: p.Hint, Start: p.Start, End: p.End,
		})
	}
	for _, k := range o.app.Keys {
		cs = append(cs, appaccess.Credential{
			ID: k.KeyID, ApplicationID: o.id, Kind: appaccess.CertificateCredential, Name: k.DisplayName,
			KeyID: k.KeyID, Thumbprint: k.Thumbprint, Start: k.Start, End: k.End,
		})
	}
	return cs
}

// Preflight checks, without a write, which roles and permissions the identities have. A
// call can still be refused if all checks pass, for example by a policy of the tenant. A
// check can fail although the call would succeed, for example if the identity has its
// role through a group.
func (e *Reconciler) Preflight(ctx context.Context) (appaccess.Preflight, error) {
	r := e.newRun(nil)
	installation, err := e.state.recordedInstallation(ctx, e.cfg.Instance)
	if err != nil {
		return appaccess.Preflight{}, err
	}
	id, err := r.identity(ctx, e.dir)
	if err != nil {
		return appaccess.Preflight{Instance: e.cfg.Instance, Installation: installation, Checks: []appaccess.Check{{
			Name: "identity", Detail: err.Error(),
			Remedy: "check the credential, the tenant and the cloud in the configuration",
		}}}, ctx.Err()
	}
	granter := id
	if e.cfg.GrantDirectory != nil {
		if granter, err = r.identity(ctx, e.grants); err != nil {
			granter = Identity{Name: "the granting identity, which cannot be read: " + err.Error()}
		}
	}
	p := appaccess.Preflight{OK: true, Identity: describe(id), TenantID: id.TenantID, Instance: e.cfg.Instance, Installation: installation, Checks: []appaccess.Check{
		{Name: "identity", OK: true, Detail: describe(id) + " in tenant " + id.TenantID},
		manages(id), grants(granter), r.reads(ctx, id),
	}}
	owns, ok, err := r.ownsApplications(ctx, id)
	if err != nil {
		return p, err
	}
	if ok {
		p.Checks = append(p.Checks, owns)
	}
	if quota, ok := r.quota(ctx, id); ok {
		p.Checks = append(p.Checks, quota)
	}
	for _, c := range p.Checks {
		p.OK = p.OK && c.OK
	}
	return p, ctx.Err()
}

func (r *run) identity(ctx context.Context, d Directory) (Identity, error) {
	return readOne(ctx, r, nil, d, func(ctx context.Context, d Directory) (Identity, error) { return d.Identity(ctx) })
}

const (
	ownedBy      = "Application.ReadWrite.OwnedBy"
	readWriteAll = "Application.ReadWrite.All"
)

var (
	adminRoles   = []string{"Application Administrator", "Cloud Application Administrator", "Global Administrator"}
	managePerms  = []string{readWriteAll, ownedBy}
	grantPerms   = []string{"AppRoleAssignment.ReadWrite.All", "Application.ReadWrite.All"}
	readPerms    = []string{"Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All"}
	adminRemedy  = "assign the Application Administrator role to %s under Microsoft Entra ID > Roles and administrators; assigning it needs the Privileged Role Administrator role"
	manageRemedy = adminRemedy + " (or grant the Graph permission Application.ReadWrite.OwnedBy and let another identity grant app roles)"
	grantRemedy  = adminRemedy + " (or grant the Graph permission AppRoleAssignment.ReadWrite.All)"
)

func manages(id Identity) appaccess.Check {
	return right("manage applications", id, managePerms, manageRemedy)
}

// grants checks the rights to grant app roles. Graph refuses an identity with
// AppRoleAssignment.ReadWrite.All that has no right to read applications.
func grants(id Identity) appaccess.Check {
	c := right("grant app roles", id, grantPerms, grantRemedy)
	administers := slices.ContainsFunc(adminRoles, id.inForce)
	reads := slices.ContainsFunc(readPerms, func(p string) bool { return slices.Contains(id.GraphRoles, p) })
	if c.OK && !administers && !reads {
		c.OK, c.Detail = false, c.Detail+", but not Application.Read.All, without which Graph refuses to grant"
		c.Remedy = "grant the Graph permission Application.Read.All to " + describe(id) + " too"
	}
	return c
}

func right(name string, id Identity, permissions []string, remedy string) appaccess.Check {
	for _, role := range adminRoles {
		if id.inForce(role) {
			return appaccess.Check{Name: name, OK: true, Detail: describe(id) + " holds the role " + role}
		}
	}
	for _, p := range permissions {
		if slices.Contains(id.GraphRoles, p) {
			return appaccess.Check{Name: name, OK: true, Detail: describe(id) + " has the Graph permission " + p}
		}
	}
	for _, r := range slices.Concat(adminRoles, permissions) {
		if slices.Contains(id.Pending, r) {
			return appaccess.Check{
				Name: name, Detail: fmt.Sprintf("%s holds %s, but its access token, which ends at %s, is older and does not carry it", describe(id), r, id.TokenEnd.Format(time.RFC3339)),
				Remedy: "wait for a new access token: Azure keeps the token of a managed identity for up to 24 hours and does not renew it earlier; any other credential gets one when the process starts again",
			}
		}
	}
	return appaccess.Check{
		Name: name, Detail: describe(id) + " holds no role and no permission that is known to allow it",
		Remedy: fmt.Sprintf(remedy, describe(id)),
	}
}

// reads tries to read an application that does not exist. If the identity may read only
// its own applications, Graph refuses this read, and the check passes nevertheless. reads
// does not retry after a refusal, so that Preflight does not wait.
func (r *run) reads(ctx context.Context, id Identity) appaccess.Check {
	ref := []AppRef{{UniqueName: uniqueName(r.e.cfg.Instance, "preflight", uuid.NewString())}}
	var api *APIError
	err := bounded(ctx, func(ctx context.Context) error {
		_, errs := r.e.dir.Applications(ctx, ref)
		return errs[0]
	})
	if err != nil && !notFound(err) && !(errors.As(err, &api) && isDenied(api)) {
		_, errs := readAll(ctx, r, nil, ref, r.e.dir.Applications)
		err = errs[0]
	}
	c := appaccess.Check{Name: "read applications", OK: true, Detail: "Graph answers"}
	if err == nil || notFound(err) {
		return c
	}
	denied := errors.As(err, &api) && isDenied(api)
	switch {
	case denied && slices.Contains(id.GraphRoles, ownedBy):
		c.Detail = describe(id) + " may read only its own applications"
	case denied:
		c.OK, c.Detail, c.Remedy = false, err.Error(), fmt.Sprintf(adminRemedy, describe(id))
	default:
		c.OK, c.Detail, c.Remedy = false, err.Error(), "see the error"
	}
	return c
}
