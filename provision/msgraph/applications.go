package msgraph

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	abstractions "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoftgraph/msgraph-sdk-go/applications"
	byappid "github.com/microsoftgraph/msgraph-sdk-go/applicationswithappid"
	byname "github.com/microsoftgraph/msgraph-sdk-go/applicationswithuniquename"
	"github.com/microsoftgraph/msgraph-sdk-go/models"

	"github.com/entragate/entragate/provision"
)

// applicationFields are what every read of an application selects.
var applicationFields = []string{"id", "appId", "uniqueName", "displayName", "description", "signInAudience", "identifierUris", "tags",
	"appRoles", "requiredResourceAccess", "passwordCredentials", "keyCredentials", "api", "optionalClaims"}

// application addresses one by its object ID. The ID is checked, because an
// empty one would address the collection.
func (d *Directory) application(objectID string) (*applications.ApplicationItemRequestBuilder, error) {
	if err := checkID("objectID", objectID); err != nil {
		return nil, err
	}
	return applications.NewApplicationsRequestBuilderInternal(d.params(), d.adapter).ByApplicationId(objectID), nil
}

func checkID(field, id string) error {
	if id == "" || strings.ContainsAny(id, "/?#") {
		return fmt.Errorf("msgraph: %s: %q is not an ID", field, id)
	}
	return nil
}

// quote escapes a value between single quotes in an OData address.
func quote(s string) string { return strings.ReplaceAll(s, "'", "''") }

// getApplication makes the request that reads one.
func (d *Directory) getApplication(ctx context.Context, ref provision.AppRef, fields []string) (*abstractions.RequestInformation, error) {
	switch {
	case ref.ObjectID != "":
		b, err := d.application(ref.ObjectID)
		if err != nil {
			return nil, err
		}
		q := applications.ApplicationItemRequestBuilderGetQueryParameters{Select: fields}
		return b.ToGetRequestInformation(ctx, &applications.ApplicationItemRequestBuilderGetRequestConfiguration{QueryParameters: &q})
	case ref.AppID != "":
		id := quote(ref.AppID)
		q := byappid.ApplicationsWithAppIdRequestBuilderGetQueryParameters{Select: fields}
		return byappid.NewApplicationsWithAppIdRequestBuilderInternal(d.params(), d.adapter, &id).
			ToGetRequestInformation(ctx, &byappid.ApplicationsWithAppIdRequestBuilderGetRequestConfiguration{QueryParameters: &q})
	case ref.UniqueName != "":
		q := byname.ApplicationsWithUniqueNameRequestBuilderGetQueryParameters{Select: fields}
		return d.byName(ref.UniqueName).
			ToGetRequestInformation(ctx, &byname.ApplicationsWithUniqueNameRequestBuilderGetRequestConfiguration{QueryParameters: &q})
	}
	return nil, errNoRef
}

var errNoRef = errors.New("msgraph: AppRef: one of ObjectID, AppID and UniqueName must be set")

func (d *Directory) byName(uniqueName string) *byname.ApplicationsWithUniqueNameRequestBuilder {
	name := quote(uniqueName)
	return byname.NewApplicationsWithUniqueNameRequestBuilderInternal(d.params(), d.adapter, &name)
}

// Applications reads applications.
func (d *Directory) Applications(ctx context.Context, refs []provision.AppRef) ([]provision.Application, []error) {
	answers := d.get(ctx, len(refs), func(i int) (*abstractions.RequestInformation, error) {
		return d.getApplication(ctx, refs[i], applicationFields)
	})
	return readAll(answers, readApplication)
}

// readAll reads the answers of many reads.
func readAll[R any](answers []answer, read func([]byte) (R, error)) ([]R, []error) {
	results, errs := make([]R, len(answers)), make([]error, len(answers))
	for i, a := range answers {
		if errs[i] = a.err; a.err == nil {
			results[i], errs[i] = read(a.body)
		}
	}
	return results, errs
}

var (
	readApplication  = reader(models.CreateApplicationFromDiscriminatorValue, applicationFrom)
	readApplications = pageReader[models.ApplicationCollectionResponseable](models.CreateApplicationCollectionResponseFromDiscriminatorValue, applicationFrom)
	// readDeleted refuses what is no application: deletedItems holds all kinds.
	readDeleted = reader(models.CreateDirectoryObjectFromDiscriminatorValue, func(m models.DirectoryObjectable) (provision.Application, error) {
		app, ok := m.(models.Applicationable)
		if !ok {
			return provision.Application{}, fmt.Errorf("msgraph: the deleted object is a %s, not an application", value(m.GetOdataType()))
		}
		return applicationFrom(app)
	})
	readClaimsOf = reader(models.CreateApplicationFromDiscriminatorValue, func(m models.Applicationable) (models.OptionalClaimsable, error) {
		return m.GetOptionalClaims(), nil
	})
)

// UpsertApplication creates the application with this uniqueName or changes it.
func (d *Directory) UpsertApplication(ctx context.Context, uniqueName string, patch provision.ApplicationPatch) (provision.Application, bool, error) {
	if uniqueName == "" {
		return provision.Application{}, false, errors.New("msgraph: uniqueName: must not be empty")
	}
	model, err := d.applicationModel(ctx, provision.AppRef{UniqueName: uniqueName}, patch)
	if err != nil {
		return provision.Application{}, false, err
	}
	info, err := d.byName(uniqueName).ToPatchRequestInformation(ctx, model,
		&byname.ApplicationsWithUniqueNameRequestBuilderPatchRequestConfiguration{Headers: createIfMissing()})
	if err != nil {
		return provision.Application{}, false, fmt.Errorf("msgraph: %w", err)
	}
	body, err := d.send(ctx, info)
	if err != nil || body == nil {
		return provision.Application{}, false, err
	}
	app, err := readApplication(body)
	return app, err == nil, err
}

// createIfMissing makes a PATCH by a natural key an upsert.
func createIfMissing() *abstractions.RequestHeaders {
	h := abstractions.NewRequestHeaders()
	h.Add("Prefer", "create-if-missing")
	return h
}

// PatchApplication changes an application by its object ID.
func (d *Directory) PatchApplication(ctx context.Context, objectID string, patch provision.ApplicationPatch) error {
	b, err := d.application(objectID)
	if err != nil {
		return err
	}
	model, err := d.applicationModel(ctx, provision.AppRef{ObjectID: objectID}, patch)
	if err != nil {
		return err
	}
	info, err := b.ToPatchRequestInformation(ctx, model, nil)
	return d.do(ctx, info, err)
}

// applicationModel is the body of a patch. Optional claims are one object of
// which a PATCH replaces whole lists, so the claims that stand are read first
// and kept. An application that cannot be found has none.
func (d *Directory) applicationModel(ctx context.Context, ref provision.AppRef, patch provision.ApplicationPatch) (models.Applicationable, error) {
	model, err := applicationModel(patch)
	if err != nil || patch.AccessTokenClaims == nil {
		return model, err
	}
	info, err := d.getApplication(ctx, ref, []string{"id", "optionalClaims"})
	keep, err := fetch(ctx, d, info, err, readClaimsOf)
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	claims := models.NewOptionalClaims()
	if keep != nil {
		claims.SetAccessToken(keep.GetAccessToken())
		claims.SetIdToken(keep.GetIdToken())
		claims.SetSaml2Token(keep.GetSaml2Token())
	}
	claims.SetAccessToken(addClaims(claims.GetAccessToken(), *patch.AccessTokenClaims))
	model.SetOptionalClaims(claims)
	return model, nil
}

// addClaims adds the names that are missing.
func addClaims(claims []models.OptionalClaimable, names []string) []models.OptionalClaimable {
	all := slices.Clone(claims)
	if all == nil {
		all = []models.OptionalClaimable{}
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(c models.OptionalClaimable) bool { return value(c.GetName()) == name }) {
			c := models.NewOptionalClaim()
			c.SetName(&name)
			all = append(all, c)
		}
	}
	return all
}

// DeleteApplication soft-deletes an application.
func (d *Directory) DeleteApplication(ctx context.Context, objectID string) error {
	b, err := d.application(objectID)
	if err != nil {
		return err
	}
	info, err := b.ToDeleteRequestInformation(ctx, nil)
	return d.do(ctx, info, err)
}

// DeletedApplication finds a soft-deleted application. By its object ID it is
// read as it is; otherwise the deleted applications are searched, which the
// identity must be allowed to do. The answer to an unknown one is Graph's own
// 404, or the same made here for a search that finds nothing.
func (d *Directory) DeletedApplication(ctx context.Context, ref provision.AppRef) (provision.Application, error) {
	if ref.ObjectID != "" {
		if err := checkID("ObjectID", ref.ObjectID); err != nil {
			return provision.Application{}, err
		}
		info := d.request(abstractions.GET, "/directory/deletedItems/"+url.PathEscape(ref.ObjectID))
		return fetch(ctx, d, info, nil, readDeleted)
	}
	filter := "uniqueName eq '" + quote(ref.UniqueName) + "'"
	if ref.AppID != "" {
		filter = "appId eq '" + quote(ref.AppID) + "'"
	}
	if ref == (provision.AppRef{}) {
		return provision.Application{}, errNoRef
	}
	info := d.request(abstractions.GET, "/directory/deletedItems/microsoft.graph.application?$count=true&$filter="+
		url.QueryEscape(filter)+"&$select="+strings.Join(applicationFields, ","))
	info.Headers.Add("ConsistencyLevel", "eventual")
	found, err := fetch(ctx, d, info, nil, readApplications)
	if err != nil {
		return provision.Application{}, err
	}
	if len(found.items) == 0 {
		return provision.Application{}, &provision.APIError{Status: http.StatusNotFound, Code: "Request_ResourceNotFound", Message: "no deleted " + ref.String()}
	}
	return found.items[0], nil
}

// Restore brings a soft-deleted object back.
func (d *Directory) Restore(ctx context.Context, objectID string) error {
	if err := checkID("objectID", objectID); err != nil {
		return err
	}
	_, err := d.post(ctx, "/directory/deletedItems/"+url.PathEscape(objectID)+"/restore", nil)
	return err
}
