package graph

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/entragate/entragate/provision"
)

// Applications reads applications.
func (c *Client) Applications(ctx context.Context, refs []provision.AppRef) ([]provision.Application, []error) {
	return all(c.getMany(ctx, len(refs), func(i int) (string, error) {
		path, err := refPath(refs[i])
		return path + selectApplication, err
	}), toApplication)
}

// TaggedApplications lists the applications that have a tag.
func (c *Client) TaggedApplications(ctx context.Context, tag string) ([]provision.Application, error) {
	if tag == "" {
		return nil, errors.New("graph: tag: must not be empty")
	}
	path := "/applications" + selectApplication + "&$top=999&$filter=" + url.PathEscape("tags/any(t:t eq ") + quoted(tag) + ")"
	return list(ctx, c, path, c.send(ctx, request{method: http.MethodGet, path: path}), toApplication)
}

// CreateApplication creates an application with POST. It fails if the unique name
// of the patch is taken.
func (c *Client) CreateApplication(ctx context.Context, p provision.ApplicationPatch) (provision.Application, error) {
	body, err := fromPatch(p)
	if err == nil && p.AccessTokenClaims != nil {
		body["optionalClaims"], err = wireClaims{}.with(*p.AccessTokenClaims)
	}
	if err != nil {
		return provision.Application{}, err
	}
	return get(ctx, c, request{method: http.MethodPost, path: "/applications", body: body}, toApplication)
}

// PatchApplication changes an application by its object ID.
func (c *Client) PatchApplication(ctx context.Context, objectID string, p provision.ApplicationPatch) error {
	path, err := applicationPath("objectID", objectID)
	if err != nil {
		return err
	}
	body, err := c.patchBody(ctx, path, p)
	if err != nil {
		return err
	}
	return c.do(ctx, request{method: http.MethodPatch, path: path, body: body})
}

// patchBody is the body of a PATCH. A PATCH of optional claims replaces all of
// them, so those that exist are read first and kept.
func (c *Client) patchBody(ctx context.Context, path string, p provision.ApplicationPatch) (map[string]any, error) {
	body, err := fromPatch(p)
	if err != nil || p.AccessTokenClaims == nil {
		return body, err
	}
	claims, err := get(ctx, c, request{method: http.MethodGet, path: path + "?$select=id,optionalClaims"},
		func(w wireApplication) (wireClaims, error) { return w.OptionalClaims, nil })
	if err != nil {
		return nil, err
	}
	body["optionalClaims"], err = claims.with(*p.AccessTokenClaims)
	return body, err
}

// DeleteApplication soft-deletes an application.
func (c *Client) DeleteApplication(ctx context.Context, objectID string) error {
	path, err := applicationPath("objectID", objectID)
	if err != nil {
		return err
	}
	return c.do(ctx, request{method: http.MethodDelete, path: path})
}

// DeletedApplication finds a soft-deleted application: by its object ID with a
// plain read, otherwise by a search of the deleted applications, which the
// identity must be allowed to list. If the search finds nothing, the error is the
// 404 that Graph gives to an unknown object ID.
func (c *Client) DeletedApplication(ctx context.Context, ref provision.AppRef) (provision.Application, error) {
	if ref.ObjectID != "" {
		path, err := deletedPath(ref.ObjectID)
		if err != nil {
			return provision.Application{}, err
		}
		return get(ctx, c, request{method: http.MethodGet, path: path}, toDeleted)
	}
	property, value := "uniqueName", ref.UniqueName
	if ref.AppID != "" {
		property, value = "appId", ref.AppID
	}
	if value == "" {
		return provision.Application{}, errNoRef
	}
	found, err := get(ctx, c, request{
		method: http.MethodGet,
		path: "/directory/deletedItems/microsoft.graph.application" + selectApplication +
			"&$count=true&$filter=" + url.PathEscape(property+" eq ") + quoted(value),
		header: map[string]string{"ConsistencyLevel": "eventual"},
	}, func(p page[wireApplication]) ([]provision.Application, error) {
		return convertAll(p.Value, toApplication)
	})
	if err != nil {
		return provision.Application{}, err
	}
	if len(found) == 0 {
		return provision.Application{}, &provision.APIError{Status: http.StatusNotFound, Code: "Request_ResourceNotFound", Message: "no deleted " + ref.String()}
	}
	return found[0], nil
}

// deletedItem is an object of deletedItems, which holds objects of all kinds.
type deletedItem struct {
	Type string `json:"@odata.type"`
	wireApplication
}

func toDeleted(w deletedItem) (provision.Application, error) {
	if w.Type != "#microsoft.graph.application" {
		return provision.Application{}, fmt.Errorf("graph: the deleted object is a %q, not an application", printable(w.Type, 100))
	}
	return toApplication(w.wireApplication)
}

// Restore brings a soft-deleted object back.
func (c *Client) Restore(ctx context.Context, objectID string) error {
	path, err := deletedPath(objectID, "restore")
	if err != nil {
		return err
	}
	return c.do(ctx, request{method: http.MethodPost, path: path})
}
