package msgraph

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/microsoftgraph/msgraph-sdk-go/models"
	"github.com/microsoftgraph/msgraph-sdk-go/serviceprincipals"

	"github.com/entragate/entragate/provision"
)

// directoryRoles are the built-in roles that a token may name (claim wids), by
// the ID of their template:
// https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference
var directoryRoles = map[string]string{
	"9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3": "Application Administrator",
	"158c047a-c907-4556-b7ef-446551a6b5f7": "Cloud Application Administrator",
	"62e90394-69f5-4237-9190-012177145e10": "Global Administrator",
	"e8611ab8-c189-46e8-94e1-60213ab1f814": "Privileged Role Administrator",
}

// claims are what is read of an access token for Graph.
type claims struct {
	ObjectID    string   `json:"oid"`
	AppID       string   `json:"appid"`
	AZP         string   `json:"azp"`
	TenantID    string   `json:"tid"`
	DisplayName string   `json:"app_displayname"`
	Roles       []string `json:"roles"`
	WIDs        []string `json:"wids"`
}

// Identity tells who is calling: who the access token says it is, with the
// directory roles that the token and Graph (memberOf) name. An identity that
// may not read memberOf, or is not replicated yet, has the token's roles only.
//
// The token's signature is NOT checked: it comes from the credential itself,
// and Graph will judge it.
func (d *Directory) Identity(ctx context.Context) (provision.Identity, error) {
	token, err := d.auth.token(ctx)
	if err != nil {
		return provision.Identity{}, err
	}
	c, err := readClaims(token)
	if err != nil {
		return provision.Identity{}, err
	}
	id := provision.Identity{ObjectID: c.ObjectID, AppID: c.AppID, TenantID: c.TenantID, Name: c.DisplayName, GraphRoles: c.Roles}
	if id.AppID == "" {
		id.AppID = c.AZP
	}
	for _, wid := range c.WIDs {
		if name, ok := directoryRoles[wid]; ok {
			id.Roles = append(id.Roles, name)
		}
	}
	roles, err := d.memberOf(ctx, c.ObjectID)
	if err != nil && !isStatus(err, http.StatusForbidden) && !isNotFound(err) {
		return provision.Identity{}, err
	}
	id.Roles = append(id.Roles, roles...)
	slices.Sort(id.Roles)
	id.Roles = slices.Compact(id.Roles)
	return id, nil
}

// readClaims decodes the claims of a JWT without a look at its signature.
func readClaims(token string) (claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, errors.New("msgraph: the access token is not a JWT: the identity is unknown")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claims{}, errors.New("msgraph: the access token's claims are not base64url")
	}
	var c claims
	if err := json.Unmarshal(raw, &c); err != nil {
		return claims{}, errors.New("msgraph: the access token's claims are not JSON")
	}
	if c.ObjectID == "" {
		return claims{}, fmt.Errorf("msgraph: the access token names no object (oid): is it an application's?")
	}
	return c, nil
}

// memberOf reads the names of the directory roles of a service principal.
func (d *Directory) memberOf(ctx context.Context, objectID string) ([]string, error) {
	b, err := d.servicePrincipal("oid", objectID)
	if err != nil {
		return nil, err
	}
	q := serviceprincipals.ItemMemberOfRequestBuilderGetQueryParameters{Top: &pageSize}
	info, err := b.MemberOf().ToGetRequestInformation(ctx, &serviceprincipals.ItemMemberOfRequestBuilderGetRequestConfiguration{QueryParameters: &q})
	if err != nil {
		return nil, fmt.Errorf("msgraph: %w", err)
	}
	body, err := d.send(ctx, info)
	names, err := pages(ctx, d, answer{body, err}, readRoles)
	return slices.DeleteFunc(names, func(name string) bool { return name == "" }), err
}

// readRoles gives the names of roles, and "" for what else an identity is a
// member of.
var readRoles = pageReader[models.DirectoryObjectCollectionResponseable](models.CreateDirectoryObjectCollectionResponseFromDiscriminatorValue,
	func(m models.DirectoryObjectable) (string, error) {
		if role, ok := m.(models.DirectoryRoleable); ok {
			return value(role.GetDisplayName()), nil
		}
		return "", nil
	})

func isNotFound(err error) bool { return isStatus(err, http.StatusNotFound) }

func isStatus(err error, status int) bool {
	var api *provision.APIError
	return errors.As(err, &api) && api.Status == status
}
