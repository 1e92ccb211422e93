package graph

import (
	"context"
	"errors"
	"net/http"

	"github.com/entragate/entragate/provision"
)

// AddPassword adds a secret. A response without the secret's value is an error
// that leaves the outcome unknown: the secret may exist, and nobody has its value.
func (c *Client) AddPassword(ctx context.Context, objectID string, p provision.PasswordRequest) (provision.Password, error) {
	path, err := applicationPath("objectID", objectID, "addPassword")
	if err != nil {
		return provision.Password{}, err
	}
	type credential struct {
		DisplayName string `json:"displayName"`
		End         any    `json:"endDateTime,omitempty"`
	}
	// No startDateTime: Entra's own clock sets it. With the time of a host whose
	// clock is ahead the secret would not be valid yet.
	in := credential{DisplayName: p.DisplayName}
	if !p.End.IsZero() {
		in.End = p.End.UTC()
	}
	return get(ctx, c, request{method: http.MethodPost, path: path, body: map[string]any{"passwordCredential": in}},
		func(w wirePassword) (provision.Password, error) {
			if w.SecretText == "" {
				return provision.Password{}, errors.New("graph: the response to addPassword has no secretText")
			}
			if w.KeyID == "" {
				return provision.Password{}, errNoID
			}
			return toPassword(w), nil
		})
}

// RemovePassword removes a secret by its key ID.
func (c *Client) RemovePassword(ctx context.Context, objectID, keyID string) error {
	path, err := applicationPath("objectID", objectID, "removePassword")
	if err == nil {
		err = checkGUID("keyID", keyID)
	}
	if err != nil {
		return err
	}
	return c.do(ctx, request{method: http.MethodPost, path: path, body: map[string]any{"keyId": keyID}})
}

// FederatedCredentials lists the federated credentials of applications, all pages.
func (c *Client) FederatedCredentials(ctx context.Context, objectIDs []string) ([][]provision.FederatedCredential, []error) {
	return listMany(ctx, c, len(objectIDs), func(i int) (string, error) {
		return applicationPath("objectID", objectIDs[i], "federatedIdentityCredentials")
	}, toFederated)
}

// AddFederatedCredential adds one.
func (c *Client) AddFederatedCredential(ctx context.Context, objectID string, f provision.FederatedCredential) (provision.FederatedCredential, error) {
	path, err := applicationPath("objectID", objectID, "federatedIdentityCredentials")
	if err != nil {
		return provision.FederatedCredential{}, err
	}
	body := wireFederated{Name: f.Name, Description: f.Description, Issuer: f.Issuer, Subject: f.Subject, Audiences: orEmpty(f.Audiences)}
	return get(ctx, c, request{method: http.MethodPost, path: path, body: body}, toFederated)
}

// RemoveFederatedCredential removes one by its ID.
func (c *Client) RemoveFederatedCredential(ctx context.Context, objectID, id string) error {
	path, err := applicationPath("objectID", objectID, "federatedIdentityCredentials", id)
	if err == nil {
		err = checkID("id", id)
	}
	if err != nil {
		return err
	}
	return c.do(ctx, request{method: http.MethodDelete, path: path})
}
