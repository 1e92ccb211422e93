package graph

import (
	"context"
	"errors"
	"net/http"

	"github.com/entragate/entragate/provision"
)

// ServicePrincipals reads service principals.
func (c *Client) ServicePrincipals(ctx context.Context, refs []provision.PrincipalRef) ([]provision.ServicePrincipal, []error) {
	return all(c.getMany(ctx, len(refs), func(i int) (string, error) {
		path, err := principalRefPath(refs[i])
		return path + selectPrincipal, err
	}), toPrincipal)
}

// UpsertServicePrincipal creates the service principal of an appId or changes it.
func (c *Client) UpsertServicePrincipal(ctx context.Context, appID string, p provision.ServicePrincipalPatch) (provision.ServicePrincipal, bool, error) {
	path, err := principalByAppID(appID)
	if err != nil {
		return provision.ServicePrincipal{}, false, err
	}
	body := map[string]any{}
	put(body, "accountEnabled", p.AccountEnabled)
	put(body, "appRoleAssignmentRequired", p.AssignmentRequired)
	if err := putList(body, "tags", p.Tags, same); err != nil {
		return provision.ServicePrincipal{}, false, err
	}
	return upsert(ctx, c, path, body, toPrincipal)
}

// DeleteServicePrincipal deletes a service principal.
func (c *Client) DeleteServicePrincipal(ctx context.Context, objectID string) error {
	path, err := principalPath("objectID", objectID)
	if err != nil {
		return err
	}
	return c.do(ctx, request{method: http.MethodDelete, path: path})
}

// Assignments reads the app roles that clients hold, all pages of each.
func (c *Client) Assignments(ctx context.Context, servicePrincipalIDs []string) ([][]provision.Assignment, []error) {
	return c.assignments(ctx, servicePrincipalIDs, "appRoleAssignments")
}

// AssignedTo reads who holds app roles on products, all pages of each.
func (c *Client) AssignedTo(ctx context.Context, servicePrincipalIDs []string) ([][]provision.Assignment, []error) {
	return c.assignments(ctx, servicePrincipalIDs, "appRoleAssignedTo")
}

func (c *Client) assignments(ctx context.Context, ids []string, side string) ([][]provision.Assignment, []error) {
	return listMany(ctx, c, len(ids), func(i int) (string, error) {
		path, err := principalPath("servicePrincipalID", ids[i], side)
		return path + largestPage, err
	}, toAssignment)
}

// Assign grants an app role.
func (c *Client) Assign(ctx context.Context, a provision.Assignment) (provision.Assignment, error) {
	path, err := principalPath("ResourceID", a.ResourceID, "appRoleAssignedTo")
	if err != nil {
		return provision.Assignment{}, err
	}
	if err := errors.Join(checkGUID("PrincipalID", a.PrincipalID), checkGUID("ResourceID", a.ResourceID), checkGUID("RoleID", a.RoleID)); err != nil {
		return provision.Assignment{}, err
	}
	body := wireAssignment{PrincipalID: a.PrincipalID, ResourceID: a.ResourceID, RoleID: a.RoleID}
	return get(ctx, c, request{method: http.MethodPost, path: path, body: body}, toAssignment)
}

// Unassign revokes an app role.
func (c *Client) Unassign(ctx context.Context, resourceID, assignmentID string) error {
	path, err := principalPath("resourceID", resourceID, "appRoleAssignedTo", assignmentID)
	if err == nil {
		err = checkID("assignmentID", assignmentID)
	}
	if err != nil {
		return err
	}
	return c.do(ctx, request{method: http.MethodDelete, path: path})
}
