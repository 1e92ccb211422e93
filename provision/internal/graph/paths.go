package graph

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/entragate/entragate/provision"
)

// What every read selects. An object has no other properties here, because a
// PATCH replaces whole collections and must know them.
const (
	selectApplication = "?$select=id,appId,uniqueName,displayName,description,signInAudience,createdDateTime,isDisabled,identifierUris,tags," +
		"appRoles,requiredResourceAccess,passwordCredentials,keyCredentials,api,optionalClaims"
	selectPrincipal = "?$select=id,appId,displayName,servicePrincipalType,accountEnabled,isDisabled,appRoleAssignmentRequired,tags,appRoles"
	largestPage     = "?$top=999"
)

// objectID is an ID that Graph gives: a GUID, or base64url for app role
// assignments. Dots and slashes would address something else.
var objectID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)

func checkID(field, id string) error {
	if !objectID.MatchString(id) {
		return fmt.Errorf("graph: %s: %q is not an ID: expected letters, digits, - and _", field, printable(id, 100))
	}
	return nil
}

func checkGUID(field, id string) error {
	if _, err := uuid.Parse(id); err != nil {
		return fmt.Errorf("graph: %s: %q is not a GUID", field, printable(id, 100))
	}
	return nil
}

// quoted is a string literal of OData in a path: a quote is doubled and all that
// has a meaning in a URL is escaped.
func quoted(s string) string {
	return "'" + url.PathEscape(strings.ReplaceAll(s, "'", "''")) + "'"
}

// below is the path of an object, or of something below it.
func below(collection, field, id string, rest ...string) (string, error) {
	if err := checkID(field, id); err != nil {
		return "", err
	}
	return strings.Join(append([]string{"/" + collection, id}, rest...), "/"), nil
}

func applicationPath(field, id string, rest ...string) (string, error) {
	return below("applications", field, id, rest...)
}

func principalPath(field, id string, rest ...string) (string, error) {
	return below("servicePrincipals", field, id, rest...)
}

func deletedPath(id string, rest ...string) (string, error) {
	return below("directory/deletedItems", "objectID", id, rest...)
}

func principalByAppID(appID string) (string, error) {
	if appID == "" {
		return "", errors.New("graph: appID: must not be empty")
	}
	return "/servicePrincipals(appId=" + quoted(appID) + ")", nil
}

func principalRefPath(ref provision.PrincipalRef) (string, error) {
	if ref.ObjectID != "" {
		return principalPath("ObjectID", ref.ObjectID)
	}
	return principalByAppID(ref.AppID)
}

var errNoRef = errors.New("graph: AppRef: one of ObjectID, AppID and UniqueName must be set")

func refPath(ref provision.AppRef) (string, error) {
	switch {
	case ref.ObjectID != "":
		return applicationPath("ObjectID", ref.ObjectID)
	case ref.AppID != "":
		return "/applications(appId=" + quoted(ref.AppID) + ")", nil
	case ref.UniqueName != "":
		return "/applications(uniqueName=" + quoted(ref.UniqueName) + ")", nil
	}
	return "", errNoRef
}
