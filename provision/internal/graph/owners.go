package graph

import (
	"context"
)

// ApplicationOwners lists the object IDs of an application's owners.
func (c *Client) ApplicationOwners(ctx context.Context, objectID string) ([]string, error) {
	return c.ids(ctx, func() (string, error) { return applicationPath("objectID", objectID, "owners") })
}

// PrincipalOwners lists the object IDs of a service principal's owners.
func (c *Client) PrincipalOwners(ctx context.Context, objectID string) ([]string, error) {
	return c.ids(ctx, func() (string, error) { return principalPath("objectID", objectID, "owners") })
}

// CreatedObjects counts the existing objects that a service principal created.
func (c *Client) CreatedObjects(ctx context.Context, servicePrincipalID string) (int, error) {
	ids, err := c.ids(ctx, func() (string, error) {
		return principalPath("servicePrincipalID", servicePrincipalID, "createdObjects")
	})
	return len(ids), err
}

// ids lists the objects at a path by their IDs. An object that the identity may
// not read has an ID all the same.
func (c *Client) ids(ctx context.Context, path func() (string, error)) ([]string, error) {
	type object struct {
		ID string `json:"id"`
	}
	lists, errs := listMany(ctx, c, 1, func(int) (string, error) {
		p, err := path()
		return p + largestPage + "&$select=id", err
	}, func(o object) (string, error) {
		if o.ID == "" {
			return "", errNoID
		}
		return o.ID, nil
	})
	return lists[0], errs[0]
}
