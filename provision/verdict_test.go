package provision_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/entragate/entragate/provision"
)

// TestClassify tests the verdicts on Graph's answers, endpoint by endpoint: for an object
// that was written a moment ago, and for any other object.
func TestClassify(t *testing.T) {
	t.Parallel()
	const (
		read, create, patch = "read", "create the application", "change the application"
		principal           = "create the service principal"
		assign, unassign    = "grant the app role", "revoke the app role"
		addSecret           = "add a secret"
		removeSecret        = "remove a secret"
		federate            = "add a federated credential"
		unfederate          = "remove a federated credential"
		restore, remove     = "restore the deleted object", "remove"
	)
	all := []string{read, create, patch, principal, assign, unassign, addSecret, removeSecret, federate, unfederate, restore, remove}
	type row struct {
		ops        []string
		err        error
		fresh, old string
	}
	api := func(status int, code, message string) error {
		return fmt.Errorf("wrapped: %w", &provision.APIError{Status: status, Code: code, Message: message})
	}
	bad := "Request_BadRequest"
	absent := api(404, "Request_ResourceNotFound", "Resource 'x' does not exist or one of its queried reference-property objects are not present.")
	rows := []row{
		// Any endpoint.
		{all, io.ErrUnexpectedEOF, "unknown", "unknown"},
		{all, context.DeadlineExceeded, "unknown", "unknown"},
		{all, api(429, "TooManyRequests", "Too many requests"), "throttle", "throttle"},
		{all, api(500, "InternalServerError", "x"), "unknown", "unknown"},
		{all, api(502, "BadGateway", "x"), "unknown", "unknown"},
		{all, api(503, "ServiceUnavailable", "x"), "unknown", "unknown"},
		{all, api(504, "GatewayTimeout", "x"), "unknown", "unknown"},
		{all, api(408, "RequestTimeout", "x"), "unknown", "unknown"},
		{all, api(424, "FailedDependency", "x"), "unknown", "unknown"},
		{all, api(409, "Directory_ConcurrencyViolation", "x"), "unknown", "unknown"},
		{all, api(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation."), "refused", "refused"},
		{all, api(401, "InvalidAuthenticationToken", "x"), "permanent", "permanent"},
		{all, api(400, bad, "Invalid value specified for property 'displayName'"), "permanent", "permanent"},
		{all, api(400, "", "a certificate that is not valid"), "permanent", "permanent"},
		{all, api(501, "NotImplemented", "x"), "permanent", "permanent"},

		// Applications.
		{[]string{create}, api(400, bad, "Another object with the same value for property uniqueName already exists."), "held", "held"},
		{[]string{create}, api(400, "ObjectConflict", "x"), "held", "held"},
		{[]string{create, patch}, api(400, bad, "Another object with the same value for property identifierUris already exists."), "permanent", "permanent"},
		{[]string{create}, api(400, "ObjectConflict", "identifierUris is taken"), "permanent", "permanent"},
		{[]string{read}, absent, "gone", "gone"},
		{[]string{create, patch}, absent, "lag", "permanent"},
		{[]string{patch}, api(400, "CannotDeleteOrUpdateEnabledEntitlement", "x"), "stale", "stale"},
		{[]string{patch}, api(400, "DuplicateValue", "Request contains a property with duplicate values."), "permanent", "permanent"},
		{[]string{patch}, api(400, "HostNameNotOnVerifiedDomain", "x"), "policy", "policy"},

		// Secrets and federated credentials.
		{[]string{addSecret}, absent, "lag", "permanent"},
		{[]string{addSecret}, api(400, "CredentialTypeNotAllowedAsPerAppPolicy", "x"), "policy", "policy"},
		{[]string{addSecret}, api(400, "CredentialInvalidLifetimeAsPerAppPolicy", "x"), "policy", "policy"},
		{[]string{addSecret}, api(400, "Directory_ResourceSizeExceeded", "The size of the object has exceeded its limit."), "permanent", "permanent"},
		{[]string{removeSecret}, api(400, bad, "No password credential found with keyId 'x'."), "gone", "done"},
		{[]string{removeSecret}, absent, "gone", "done"},
		{[]string{federate}, absent, "lag", "permanent"},
		{[]string{federate}, api(409, "MultipleObjectsWithSameKeyValue", "x"), "permanent", "permanent"},
		{[]string{federate}, api(409, "Request_MultipleObjectsWithSameKeyValue", "FederatedIdentityCredential with name x already exists."), "done", "done"},
		{[]string{unfederate}, absent, "gone", "done"},

		// Service principals.
		{[]string{principal}, api(400, "NoBackingApplicationObject", "The appId 'x' of the service principal does not reference a valid application object."), "lag", "lag"},
		{[]string{principal}, api(403, "Authorization_RequestDenied", "When using this permission, the backing application of the service principal being created must in the local tenant"), "lag", "lag"},
		{[]string{principal}, api(409, "Request_MultipleObjectsWithSameKeyValue", "x"), "lag", "lag"},
		{[]string{principal}, absent, "lag", "permanent"},

		// Grants.
		{[]string{assign}, absent, "lag", "permanent"},
		{[]string{assign}, api(400, bad, "Not a valid reference update."), "lag", "permanent"},
		{[]string{assign}, api(400, bad, "Permission being assigned was not found on application 'x'."), "lag", "permanent"},
		{[]string{assign}, api(400, bad, "Specified resourceId was not found."), "lag", "permanent"},
		{[]string{assign}, api(400, "InvalidUpdate", "Permission being assigned already exists on the object"), "done", "done"},
		{[]string{unassign}, api(400, bad, "EntitlementGrant being updated or deleted is not found."), "stale", "done"},
		{[]string{unassign}, absent, "stale", "done"},

		{[]string{assign}, api(409, "Conflict", "EntitlementGrant entry already exists."), "done", "done"},
		{[]string{patch}, api(409, "Conflict", "x"), "unknown", "unknown"},
		{[]string{patch}, api(409, "Error_MsaAppDoesNotExist", "x"), "lag", "lag"},
		{[]string{create}, api(403, "Directory_QuotaExceeded", "The directory object quota limit for the Principal has been exceeded."), "quota", "quota"},

		// Deleting and restoring.
		{[]string{remove, restore}, absent, "gone", "done"},
	}
	for _, r := range rows {
		for _, op := range r.ops {
			assert.Equal(t, r.fresh, provision.Classify(r.err, op, true), "%s, written a moment ago: %v", op, r.err)
			assert.Equal(t, r.old, provision.Classify(r.err, op, false), "%s: %v", op, r.err)
		}
	}
	nested := &provision.APIError{Status: 400, Code: bad, Message: "x", Details: []provision.APIErrorDetail{{Code: "NoBackingApplicationObject"}}}
	assert.Equal(t, "lag", provision.Classify(nested, principal, false), "a code in the details")
	assert.Equal(t, "unknown", provision.Classify(errors.New("no answer"), addSecret, true))
}
