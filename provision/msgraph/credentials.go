package msgraph

import (
	"context"
	"errors"

	"github.com/microsoftgraph/msgraph-sdk-go/applications"
	"github.com/microsoftgraph/msgraph-sdk-go/models"

	abstractions "github.com/microsoft/kiota-abstractions-go"

	"github.com/entragate/entragate/provision"
)

// AddPassword adds a secret. An answer without its value is an error, like one
// that was lost: the secret may stand, and nobody knows it.
func (d *Directory) AddPassword(ctx context.Context, objectID string, p provision.PasswordRequest) (provision.Password, error) {
	b, err := d.application(objectID)
	if err != nil {
		return provision.Password{}, err
	}
	body := applications.NewItemAddPasswordPostRequestBody()
	body.SetPasswordCredential(passwordModel(p))
	info, err := b.AddPassword().ToPostRequestInformation(ctx, body, nil)
	return fetch(ctx, d, info, err, readNewPassword)
}

var (
	readNewPassword = reader(models.CreatePasswordCredentialFromDiscriminatorValue, func(m models.PasswordCredentialable) (provision.Password, error) {
		if value(m.GetSecretText()) == "" {
			return provision.Password{}, errors.New("msgraph: addPassword was answered without the secret")
		}
		return passwordFrom(m)
	})
	readFederated     = reader(models.CreateFederatedIdentityCredentialFromDiscriminatorValue, federatedFrom)
	readFederatedPage = pageReader[models.FederatedIdentityCredentialCollectionResponseable](models.CreateFederatedIdentityCredentialCollectionResponseFromDiscriminatorValue, federatedFrom)
)

// RemovePassword removes a secret by its key ID.
func (d *Directory) RemovePassword(ctx context.Context, objectID, keyID string) error {
	b, err := d.application(objectID)
	if err != nil {
		return err
	}
	id, err := parseID("keyID", keyID)
	if err != nil {
		return err
	}
	body := applications.NewItemRemovePasswordPostRequestBody()
	body.SetKeyId(id)
	info, err := b.RemovePassword().ToPostRequestInformation(ctx, body, nil)
	return d.do(ctx, info, err)
}

// FederatedCredentials lists those of an application, all pages.
func (d *Directory) FederatedCredentials(ctx context.Context, objectID string) ([]provision.FederatedCredential, error) {
	first := d.get(ctx, 1, func(int) (*abstractions.RequestInformation, error) {
		b, err := d.application(objectID)
		if err != nil {
			return nil, err
		}
		return b.FederatedIdentityCredentials().ToGetRequestInformation(ctx, nil)
	})
	return pages(ctx, d, first[0], readFederatedPage)
}

// AddFederatedCredential adds one.
func (d *Directory) AddFederatedCredential(ctx context.Context, objectID string, f provision.FederatedCredential) (provision.FederatedCredential, error) {
	b, err := d.application(objectID)
	if err != nil {
		return provision.FederatedCredential{}, err
	}
	info, err := b.FederatedIdentityCredentials().ToPostRequestInformation(ctx, federatedModel(f), nil)
	return fetch(ctx, d, info, err, readFederated)
}

// RemoveFederatedCredential removes one by its ID.
func (d *Directory) RemoveFederatedCredential(ctx context.Context, objectID, id string) error {
	b, err := d.application(objectID)
	if err != nil {
		return err
	}
	if err := checkID("id", id); err != nil {
		return err
	}
	info, err := b.FederatedIdentityCredentials().ByFederatedIdentityCredentialId(id).ToDeleteRequestInformation(ctx, nil)
	return d.do(ctx, info, err)
}
