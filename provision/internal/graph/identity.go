package graph

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entragate/entragate/provision"
)

// directoryRoles are the built-in roles that a token may name (claim wids), by
// the ID of their template:
// https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference
var directoryRoles = map[string]string{
	"9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3": "Application Administrator",
	"158c047a-c907-4556-b7ef-446551a6b5f7": "Cloud Application Administrator",
	"8ac3fc64-6eca-42ea-9e69-59f4c7b60eb2": "Hybrid Identity Administrator",
	"62e90394-69f5-4237-9190-012177145e10": "Global Administrator",
	"e8611ab8-c189-46e8-94e1-60213ab1f814": "Privileged Role Administrator",
}

// tokenClaims are the claims that are read from an access token for Graph.
type tokenClaims struct {
	ObjectID    string   `json:"oid"`
	AppID       string   `json:"appid"`
	AZP         string   `json:"azp"`
	TenantID    string   `json:"tid"`
	DisplayName string   `json:"app_displayname"`
	Roles       []string `json:"roles"`
	Expires     int64    `json:"exp"`
	WIDs        []string `json:"wids"`
}

// permissions are the app roles of Graph that provisioning is about, by their ID:
// https://learn.microsoft.com/graph/permissions-reference
var permissions = map[string]string{
	"1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9": "Application.ReadWrite.All",
	"18a4783c-866b-4cc7-a460-3d5e5662c884": "Application.ReadWrite.OwnedBy",
	"06b708a9-e830-4db3-a914-8e69da51d44f": "AppRoleAssignment.ReadWrite.All",
	"9a5d68dd-52b0-4cc2-bd40-abcf4ac3a30e": "Application.Read.All",
	"7ab1d382-f21e-4acd-a863-ba3e13f7da61": "Directory.Read.All",
}

// Identity returns the caller that the access token names, with the directory roles
// that the token and Graph (transitiveMemberOf) name. Its Pending are the roles and
// permissions that Graph names and the token does not carry. If the caller may not
// read its own roles, or is not replicated yet, only those in the token are returned.
//
// The signature of the token is NOT checked: the token comes from the caller's
// own credential, and Graph checks it.
func (c *Client) Identity(ctx context.Context) (provision.Identity, error) {
	token, err := c.cfg.Token(ctx, "")
	if err != nil {
		return provision.Identity{}, err
	}
	id, err := c.identityOf(ctx, token)
	if err != nil {
		return provision.Identity{}, err
	}
	// If Graph refused the token while it was asked, the client got another one,
	// which may carry more rights.
	renewed, err := c.cfg.Token(ctx, "")
	if err != nil {
		return provision.Identity{}, err
	}
	if renewed != token {
		return c.identityOf(ctx, renewed)
	}
	return id, nil
}

// identityOf returns the identity that a token names.
func (c *Client) identityOf(ctx context.Context, token string) (provision.Identity, error) {
	claims, err := readToken(token)
	if err != nil {
		return provision.Identity{}, err
	}
	id := provision.Identity{ObjectID: claims.ObjectID, AppID: claims.AppID, TenantID: claims.TenantID, Name: claims.DisplayName, GraphRoles: claims.Roles}
	if id.AppID == "" {
		id.AppID = claims.AZP
	}
	for _, wid := range claims.WIDs {
		if name, ok := directoryRoles[wid]; ok {
			id.Roles = append(id.Roles, name)
		}
	}
	roles, err := c.memberOf(ctx, claims.ObjectID)
	if err != nil && !isStatus(err, http.StatusForbidden) && !isStatus(err, http.StatusNotFound) {
		return provision.Identity{}, err
	}
	for _, role := range roles {
		if len(claims.WIDs) > 0 && slices.Contains(slices.Collect(maps.Values(directoryRoles)), role) && !slices.Contains(id.Roles, role) {
			id.Pending = append(id.Pending, role)
		}
	}
	id.Roles = append(id.Roles, roles...)
	slices.Sort(id.Roles)
	id.Roles = slices.Compact(id.Roles)
	held, errs := c.Assignments(ctx, []string{claims.ObjectID})
	if err := errs[0]; err != nil && !isStatus(err, http.StatusForbidden) && !isStatus(err, http.StatusNotFound) {
		return provision.Identity{}, err
	}
	for _, a := range held[0] {
		if name := permissions[a.RoleID]; name != "" && !slices.Contains(id.GraphRoles, name) {
			id.Pending = append(id.Pending, name)
		}
	}
	if claims.Expires > 0 {
		id.TokenEnd = time.Unix(claims.Expires, 0).UTC()
	}
	return id, nil
}

// memberOf returns the names of the directory roles of a service principal, also
// those that it holds through a group.
func (c *Client) memberOf(ctx context.Context, objectID string) ([]string, error) {
	type member struct {
		Type        string `json:"@odata.type"`
		DisplayName string `json:"displayName"`
	}
	lists, errs := listMany(ctx, c, 1, func(int) (string, error) {
		path, err := principalPath("oid", objectID, "transitiveMemberOf")
		return path + largestPage, err
	}, func(m member) (string, error) {
		if m.Type != "#microsoft.graph.directoryRole" {
			return "", nil
		}
		return printable(m.DisplayName, 200), nil
	})
	return slices.DeleteFunc(lists[0], func(name string) bool { return name == "" }), errs[0]
}

// readToken decodes the claims of a JWT without checking its signature.
func readToken(token string) (tokenClaims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return tokenClaims{}, errors.New("graph: the access token is not a JWT: the identity is unknown")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return tokenClaims{}, errors.New("graph: the claims of the access token are not base64url")
	}
	var c tokenClaims
	if json.Unmarshal(raw, &c) != nil {
		return tokenClaims{}, errors.New("graph: the claims of the access token are not JSON")
	}
	if c.ObjectID == "" {
		return tokenClaims{}, errors.New("graph: the access token names no object (claim oid): is it a token of an application?")
	}
	return c, nil
}
