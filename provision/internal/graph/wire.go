package graph

import (
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/entragate/entragate/internal/secret"
	"github.com/entragate/entragate/provision"
)

// Between Graph's JSON and provision's types. Reading accepts missing and null
// properties; an object without an ID is an error, because it cannot be addressed.

var errNoID = errors.New("graph: unreadable answer: an object without its ID")

type wireApplication struct {
	ID                  string           `json:"id"`
	AppID               string           `json:"appId"`
	UniqueName          string           `json:"uniqueName"`
	DisplayName         string           `json:"displayName"`
	Description         string           `json:"description"`
	SignInAudience      string           `json:"signInAudience"`
	Created             *time.Time       `json:"createdDateTime"`
	IsDisabled          bool             `json:"isDisabled"`
	IdentifierURIs      []string         `json:"identifierUris"`
	Tags                []string         `json:"tags"`
	AppRoles            []wireRole       `json:"appRoles"`
	RequiredAccess      []wireAccess     `json:"requiredResourceAccess"`
	PasswordCredentials []wirePassword   `json:"passwordCredentials"`
	KeyCredentials      []jsontext.Value `json:"keyCredentials"`
	OptionalClaims      wireClaims       `json:"optionalClaims"`
	API                 struct {
		TokenVersion int `json:"requestedAccessTokenVersion"`
	} `json:"api"`
}

func toApplication(w wireApplication) (provision.Application, error) {
	if w.ID == "" {
		return provision.Application{}, errNoID
	}
	keys, err := convertAll(w.KeyCredentials, toKey)
	if err != nil {
		return provision.Application{}, err
	}
	claims, err := convertAll(w.OptionalClaims.AccessToken, claimName)
	var created time.Time
	if w.Created != nil {
		created = *w.Created
	}
	return provision.Application{
		Created: created, Disabled: w.IsDisabled,
		ObjectID: w.ID, AppID: w.AppID, UniqueName: w.UniqueName, DisplayName: w.DisplayName, Description: w.Description,
		SignInAudience: w.SignInAudience, IdentifierURIs: w.IdentifierURIs, Tags: w.Tags,
		AppRoles:       convert(w.AppRoles, toRole),
		RequiredAccess: convert(w.RequiredAccess, toAccess),
		Passwords:      convert(w.PasswordCredentials, toPassword),
		Keys:           keys, AccessTokenVersion: w.API.TokenVersion, AccessTokenClaims: claims,
	}, err
}

// fromPatch is the body of a PATCH without its optional claims.
func fromPatch(p provision.ApplicationPatch) (map[string]any, error) {
	body := map[string]any{}
	put(body, "uniqueName", p.UniqueName)
	put(body, "displayName", p.DisplayName)
	put(body, "signInAudience", p.SignInAudience)
	put(body, "isDisabled", p.Disabled)
	if p.Description != nil {
		body["description"] = orNull(*p.Description)
	}
	if p.AccessTokenVersion != nil { // Graph merges the api object
		body["api"] = map[string]any{"requestedAccessTokenVersion": orNull(*p.AccessTokenVersion)}
	}
	err := errors.Join(
		putList(body, "identifierUris", p.IdentifierURIs, same),
		putList(body, "tags", p.Tags, same),
		putList(body, "appRoles", p.AppRoles, fromRole),
		putList(body, "requiredResourceAccess", p.RequiredAccess, fromAccess),
		putList(body, "keyCredentials", p.Keys, fromKey),
	)
	return body, err
}

func put[V any](body map[string]any, name string, v *V) {
	if v != nil {
		body[name] = *v
	}
}

// putList sets a collection. An empty one is [], which empties the collection.
func putList[V, W any](body map[string]any, name string, list *[]V, convert func(V) (W, error)) error {
	if list == nil {
		return nil
	}
	all := make([]W, len(*list))
	for i, v := range *list {
		var err error
		if all[i], err = convert(v); err != nil {
			return err
		}
	}
	body[name] = all
	return nil
}

func same(s string) (string, error) { return s, nil }

// orNull is null for a zero value, which Graph does not accept in its place.
func orNull[V comparable](v V) any {
	var zero V
	if v == zero {
		return nil
	}
	return v
}

func convert[W, V any](list []W, f func(W) V) []V {
	if list == nil {
		return nil
	}
	all := make([]V, len(list))
	for i, w := range list {
		all[i] = f(w)
	}
	return all
}

func convertAll[W, V any](list []W, f func(W) (V, error)) ([]V, error) {
	var failed error
	all := convert(list, func(w W) V {
		v, err := f(w)
		failed = errors.Join(failed, err)
		return v
	})
	return all, failed
}

type wireRole struct {
	ID                 string   `json:"id"`
	Value              *string  `json:"value,omitempty"`
	DisplayName        string   `json:"displayName"`
	Description        string   `json:"description"`
	IsEnabled          bool     `json:"isEnabled"`
	AllowedMemberTypes []string `json:"allowedMemberTypes"`
}

func toRole(w wireRole) provision.AppRole {
	r := provision.AppRole{
		ID: w.ID, DisplayName: w.DisplayName, Description: w.Description, Enabled: w.IsEnabled, AllowedMemberTypes: w.AllowedMemberTypes,
	}
	if w.Value != nil {
		r.Value = *w.Value
	}
	return r
}

func fromRole(r provision.AppRole) (wireRole, error) {
	w := wireRole{
		ID: r.ID, DisplayName: r.DisplayName, Description: r.Description, IsEnabled: r.Enabled, AllowedMemberTypes: r.AllowedMemberTypes,
	}
	if r.Value != "" {
		w.Value = &r.Value
	}
	return w, checkGUID("AppRoles.ID", r.ID)
}

type wireAccess struct {
	ResourceAppID  string           `json:"resourceAppId"`
	ResourceAccess []wirePermission `json:"resourceAccess"`
}

type wirePermission struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

const (
	typeRole  = "Role"
	typeScope = "Scope"
)

func toAccess(w wireAccess) provision.RequiredAccess {
	a := provision.RequiredAccess{ResourceAppID: w.ResourceAppID}
	for _, p := range w.ResourceAccess {
		switch p.Type {
		case typeRole:
			a.Roles = append(a.Roles, p.ID)
		case typeScope:
			a.Scopes = append(a.Scopes, p.ID)
		default:
			a.Others = append(a.Others, provision.OtherAccess{ID: p.ID, Type: p.Type})
		}
	}
	return a
}

func fromAccess(a provision.RequiredAccess) (wireAccess, error) {
	w := wireAccess{ResourceAppID: a.ResourceAppID, ResourceAccess: []wirePermission{}}
	for _, id := range a.Roles {
		w.ResourceAccess = append(w.ResourceAccess, wirePermission{id, typeRole})
	}
	for _, id := range a.Scopes {
		w.ResourceAccess = append(w.ResourceAccess, wirePermission{id, typeScope})
	}
	for _, o := range a.Others {
		w.ResourceAccess = append(w.ResourceAccess, wirePermission{o.ID, o.Type})
	}
	for _, p := range w.ResourceAccess {
		if err := checkGUID("RequiredAccess."+p.Type, p.ID); err != nil {
			return w, err
		}
	}
	return w, nil
}

type wirePassword struct {
	KeyID       string    `json:"keyId"`
	DisplayName string    `json:"displayName"`
	Hint        string    `json:"hint"`
	Start       time.Time `json:"startDateTime"`
	End         time.Time `json:"endDateTime"`
	SecretText  string    `json:"secretText"`
}

func toPassword(w wirePassword) provision.Password {
	return provision.Password{
		KeyID: w.KeyID, DisplayName: w.DisplayName, Hint: w.Hint, Start: w.Start, End: w.End, SecretText: secret.New(w.SecretText),
	}
}

type wireKey struct {
	KeyID       string     `json:"keyId,omitempty"`
	DisplayName string     `json:"displayName"`
	Type        string     `json:"type"`
	Usage       string     `json:"usage"`
	Key         []byte     `json:"key,omitempty"`
	Thumbprint  string     `json:"customKeyIdentifier,omitempty"`
	Start       *time.Time `json:"startDateTime,omitempty"`
	End         *time.Time `json:"endDateTime,omitempty"`
}

func toKey(raw jsontext.Value) (provision.KeyCredential, error) {
	var w wireKey
	if err := json.Unmarshal(raw, &w); err != nil {
		return provision.KeyCredential{}, clean(err)
	}
	k := provision.KeyCredential{
		KeyID: w.KeyID, DisplayName: w.DisplayName, Type: w.Type, Usage: w.Usage, Key: w.Key, Thumbprint: w.Thumbprint, Raw: string(raw),
	}
	if w.Start != nil {
		k.Start = *w.Start
	}
	if w.End != nil {
		k.End = *w.End
	}
	return k, nil
}

// fromKey sends a certificate that was read back as Graph wrote it: a date of
// seven decimals that is written in another way is refused as a change. Only a
// null key is left out, because Graph keeps the key of an entry without one.
func fromKey(k provision.KeyCredential) (any, error) {
	if k.Raw != "" {
		var entry map[string]jsontext.Value
		if err := json.Unmarshal([]byte(k.Raw), &entry); err != nil {
			return nil, errors.New("graph: Keys.Raw: is not the entry of a certificate")
		}
		maps.DeleteFunc(entry, func(name string, v jsontext.Value) bool { return name == "key" && v.Kind() == 'n' })
		return entry, nil
	}
	if k.KeyID != "" {
		if err := checkGUID("Keys.KeyID", k.KeyID); err != nil {
			return nil, err
		}
	}
	if _, err := base64.StdEncoding.DecodeString(k.Thumbprint); err != nil {
		return nil, errors.New("graph: Keys.Thumbprint: is not base64")
	}
	return wireKey{k.KeyID, k.DisplayName, k.Type, k.Usage, k.Key, k.Thumbprint, timeOrNil(k.Start), timeOrNil(k.End)}, nil
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// wireClaims keeps every optional claim as Graph wrote it, because a PATCH
// replaces them all.
type wireClaims struct {
	AccessToken []jsontext.Value `json:"accessToken"`
	IDToken     []jsontext.Value `json:"idToken"`
	SAML2Token  []jsontext.Value `json:"saml2Token"`
}

func claimName(raw jsontext.Value) (string, error) {
	var claim struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(raw, &claim); err != nil {
		return "", clean(err)
	}
	return claim.Name, nil
}

// with sets the names of the access-token claims. A claim that exists keeps its
// settings.
func (c wireClaims) with(names []string) (wireClaims, error) {
	present, err := convertAll(c.AccessToken, claimName)
	if err != nil {
		return c, err
	}
	before := c.AccessToken
	c.AccessToken, c.IDToken, c.SAML2Token = []jsontext.Value{}, orEmpty(c.IDToken), orEmpty(c.SAML2Token)
	for _, name := range names {
		if i := slices.Index(present, name); i >= 0 {
			c.AccessToken = append(c.AccessToken, before[i])
			continue
		}
		raw, err := json.Marshal(map[string]any{"name": name, "essential": false, "additionalProperties": []string{}}, json.Deterministic(true))
		if err != nil {
			return c, err
		}
		c.AccessToken = append(c.AccessToken, raw)
	}
	return c, nil
}

func orEmpty[V any](list []V) []V {
	if list == nil {
		return []V{}
	}
	return list
}

type wirePrincipal struct {
	ID                 string     `json:"id"`
	AppID              string     `json:"appId"`
	DisplayName        string     `json:"displayName"`
	Type               string     `json:"servicePrincipalType"`
	AccountEnabled     *bool      `json:"accountEnabled"`
	IsDisabled         bool       `json:"isDisabled"`
	AssignmentRequired bool       `json:"appRoleAssignmentRequired"`
	Tags               []string   `json:"tags"`
	AppRoles           []wireRole `json:"appRoles"`
}

func toPrincipal(w wirePrincipal) (provision.ServicePrincipal, error) {
	if w.ID == "" {
		return provision.ServicePrincipal{}, errNoID
	}
	return provision.ServicePrincipal{
		ObjectID: w.ID, AppID: w.AppID, DisplayName: w.DisplayName, Type: w.Type,
		AccountEnabled:     w.AccountEnabled == nil || *w.AccountEnabled, // null is Graph's default, enabled
		Disabled:           w.IsDisabled,
		AssignmentRequired: w.AssignmentRequired, Tags: w.Tags, AppRoles: convert(w.AppRoles, toRole),
	}, nil
}

type wireAssignment struct {
	ID          string `json:"id,omitempty"`
	PrincipalID string `json:"principalId"`
	ResourceID  string `json:"resourceId"`
	RoleID      string `json:"appRoleId"`
}

func toAssignment(w wireAssignment) (provision.Assignment, error) {
	if w.ID == "" {
		return provision.Assignment{}, errNoID
	}
	return provision.Assignment{ID: w.ID, PrincipalID: w.PrincipalID, ResourceID: w.ResourceID, RoleID: w.RoleID}, nil
}

type wireFederated struct {
	ID          string   `json:"id,omitempty"`
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Issuer      string   `json:"issuer"`
	Subject     string   `json:"subject"`
	Audiences   []string `json:"audiences"`
}

func toFederated(w wireFederated) (provision.FederatedCredential, error) {
	if w.ID == "" {
		return provision.FederatedCredential{}, errNoID
	}
	return provision.FederatedCredential{
		ID: w.ID, Name: w.Name, Description: w.Description, Issuer: w.Issuer, Subject: w.Subject, Audiences: w.Audiences,
	}, nil
}
