package msgraph

import (
	"context"
	"errors"
	"fmt"

	abstractions "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoftgraph/msgraph-sdk-go/models"
	"github.com/microsoftgraph/msgraph-sdk-go/serviceprincipals"
	byappid "github.com/microsoftgraph/msgraph-sdk-go/serviceprincipalswithappid"

	"github.com/entragate/entragate/provision"
)

// servicePrincipalFields are what every read of a service principal selects.
var servicePrincipalFields = []string{"id", "appId", "displayName", "accountEnabled", "appRoleAssignmentRequired", "tags", "appRoles"}

// pageSize is the most that Graph gives of a list at once.
var pageSize = int32(999)

func (d *Directory) servicePrincipal(field, objectID string) (*serviceprincipals.ServicePrincipalItemRequestBuilder, error) {
	if err := checkID(field, objectID); err != nil {
		return nil, err
	}
	return serviceprincipals.NewServicePrincipalsRequestBuilderInternal(d.params(), d.adapter).ByServicePrincipalId(objectID), nil
}

func (d *Directory) servicePrincipalByAppID(appID string) (*byappid.ServicePrincipalsWithAppIdRequestBuilder, error) {
	if appID == "" {
		return nil, errors.New("msgraph: appID: must not be empty")
	}
	id := quote(appID)
	return byappid.NewServicePrincipalsWithAppIdRequestBuilderInternal(d.params(), d.adapter, &id), nil
}

// ServicePrincipals reads service principals by appId.
func (d *Directory) ServicePrincipals(ctx context.Context, appIDs []string) ([]provision.ServicePrincipal, []error) {
	answers := d.get(ctx, len(appIDs), func(i int) (*abstractions.RequestInformation, error) {
		b, err := d.servicePrincipalByAppID(appIDs[i])
		if err != nil {
			return nil, err
		}
		q := byappid.ServicePrincipalsWithAppIdRequestBuilderGetQueryParameters{Select: servicePrincipalFields}
		return b.ToGetRequestInformation(ctx, &byappid.ServicePrincipalsWithAppIdRequestBuilderGetRequestConfiguration{QueryParameters: &q})
	})
	return readAll(answers, readServicePrincipal)
}

var (
	readServicePrincipal = reader(models.CreateServicePrincipalFromDiscriminatorValue, servicePrincipalFrom)
	readAssignment       = reader(models.CreateAppRoleAssignmentFromDiscriminatorValue, assignmentFrom)
	readAssignments      = pageReader[models.AppRoleAssignmentCollectionResponseable](models.CreateAppRoleAssignmentCollectionResponseFromDiscriminatorValue, assignmentFrom)
)

// UpsertServicePrincipal creates the service principal of an appId or changes it.
func (d *Directory) UpsertServicePrincipal(ctx context.Context, appID string, patch provision.ServicePrincipalPatch) (provision.ServicePrincipal, bool, error) {
	b, err := d.servicePrincipalByAppID(appID)
	if err != nil {
		return provision.ServicePrincipal{}, false, err
	}
	info, err := b.ToPatchRequestInformation(ctx, servicePrincipalModel(patch),
		&byappid.ServicePrincipalsWithAppIdRequestBuilderPatchRequestConfiguration{Headers: createIfMissing()})
	if err != nil {
		return provision.ServicePrincipal{}, false, fmt.Errorf("msgraph: %w", err)
	}
	body, err := d.send(ctx, info)
	if err != nil || body == nil {
		return provision.ServicePrincipal{}, false, err
	}
	sp, err := readServicePrincipal(body)
	return sp, err == nil, err
}

// DeleteServicePrincipal deletes a service principal.
func (d *Directory) DeleteServicePrincipal(ctx context.Context, objectID string) error {
	b, err := d.servicePrincipal("objectID", objectID)
	if err != nil {
		return err
	}
	info, err := b.ToDeleteRequestInformation(ctx, nil)
	return d.do(ctx, info, err)
}

// Assignments reads the app roles that clients hold, all pages of each.
func (d *Directory) Assignments(ctx context.Context, servicePrincipalIDs []string) ([][]provision.Assignment, []error) {
	return d.assignments(ctx, servicePrincipalIDs, func(b *serviceprincipals.ServicePrincipalItemRequestBuilder) (*abstractions.RequestInformation, error) {
		q := serviceprincipals.ItemAppRoleAssignmentsRequestBuilderGetQueryParameters{Top: &pageSize}
		return b.AppRoleAssignments().ToGetRequestInformation(ctx, &serviceprincipals.ItemAppRoleAssignmentsRequestBuilderGetRequestConfiguration{QueryParameters: &q})
	})
}

// AssignedTo reads who holds app roles on products, all pages of each.
func (d *Directory) AssignedTo(ctx context.Context, servicePrincipalIDs []string) ([][]provision.Assignment, []error) {
	return d.assignments(ctx, servicePrincipalIDs, func(b *serviceprincipals.ServicePrincipalItemRequestBuilder) (*abstractions.RequestInformation, error) {
		q := serviceprincipals.ItemAppRoleAssignedToRequestBuilderGetQueryParameters{Top: &pageSize}
		return b.AppRoleAssignedTo().ToGetRequestInformation(ctx, &serviceprincipals.ItemAppRoleAssignedToRequestBuilderGetRequestConfiguration{QueryParameters: &q})
	})
}

func (d *Directory) assignments(ctx context.Context, ids []string, list func(*serviceprincipals.ServicePrincipalItemRequestBuilder) (*abstractions.RequestInformation, error)) ([][]provision.Assignment, []error) {
	answers := d.get(ctx, len(ids), func(i int) (*abstractions.RequestInformation, error) {
		b, err := d.servicePrincipal("servicePrincipalID", ids[i])
		if err != nil {
			return nil, err
		}
		return list(b)
	})
	lists, errs := make([][]provision.Assignment, len(answers)), make([]error, len(answers))
	for i, a := range answers {
		lists[i], errs[i] = pages(ctx, d, a, readAssignments)
	}
	return lists, errs
}

// Assign grants an app role.
func (d *Directory) Assign(ctx context.Context, a provision.Assignment) (provision.Assignment, error) {
	b, err := d.servicePrincipal("ResourceID", a.ResourceID)
	if err != nil {
		return provision.Assignment{}, err
	}
	body, err := assignmentModel(a)
	if err != nil {
		return provision.Assignment{}, err
	}
	info, err := b.AppRoleAssignedTo().ToPostRequestInformation(ctx, body, nil)
	return fetch(ctx, d, info, err, readAssignment)
}

// Unassign revokes an app role.
func (d *Directory) Unassign(ctx context.Context, resourceID, assignmentID string) error {
	b, err := d.servicePrincipal("resourceID", resourceID)
	if err != nil {
		return err
	}
	if err := checkID("assignmentID", assignmentID); err != nil {
		return err
	}
	info, err := b.AppRoleAssignedTo().ByAppRoleAssignmentId(assignmentID).ToDeleteRequestInformation(ctx, nil)
	return d.do(ctx, info, err)
}
