package provision_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision/entratest"
)

// Reports of users of other programs about Graph, and the tests of what they saw.
var _ = map[string][]func(*testing.T){
	"azure-docs 63468: the quota of an identity refuses every create":      {TestQuotaStopsTheRound, TestDistanceToTheQuota},
	"azure-powershell 6784: certificates are rewritten":                    {TestAdoptedClientIsGivenBack},
	"azure-sdk-for-net 30959: a token is older than a role":                {TestRightNewerThanTheToken},
	"bicep 14868: an upsert does not make its caller an owner":             {TestCreatedButNotOwned},
	"microsoft-graph-docs 11378: granting needs Application.Read.All":      {TestGranterWithoutRead},
	"microsoft-graph-docs-contrib 3614: a DELETE of a grant answers 404":   {TestNotFoundProvesNothing, TestAnswersThatUsersReported},
	"msgraph-bicep-types 134: an upsert does not make its caller an owner": {TestCreatedButNotOwned},
	"msgraph-bicep-types 161: a grant exists already after a lost answer":  {TestAnswersThatUsersReported},
	"msgraph-bicep-types 193: grants show more than five minutes later":    {TestRevocationsAreConfirmed},
	"msgraph-sdk-javascript 1999: addPassword answers 404 for minutes":     {TestSecretOfAYoungApplication},
	"terraform-provider-azuread 1764: 409 after a create and on an update": {TestAnswersThatUsersReported},
	"terraform-provider-azuread 1855: a service principal was disabled":    {TestDisabledProduct, TestDisabledClient},
}

// Answers to one request of a round, as users reported them. The round ends in the
// desired state all the same.
func TestAnswersThatUsersReported(t *testing.T) {
	t.Parallel()
	refuse := func(status int, code, message string) entratest.Fault {
		return entratest.Fault{Kind: entratest.Refuse, Status: status, Code: code, Message: message}
	}
	conflict := refuse(409, "Directory_ConcurrencyViolation", "Another object is being updated at the same time.")
	for name, c := range map[string]struct {
		method, path string
		answers      []entratest.Fault // to the first requests
	}{
		"a grant exists already after a lost answer": {"POST", "/appRoleAssignedTo", []entratest.Fault{
			{Kind: entratest.TimeoutAfter}, refuse(409, "Conflict", "EntitlementGrant entry already exists."),
		}},
		"409 after a create": {"PATCH", "/servicePrincipals(appId", []entratest.Fault{
			refuse(409, "Request_MultipleObjectsWithSameKeyValue", "Another object with the same value for property appId already exists."),
		}},
		"409 on an update of a new application": {"PATCH", "/applications/", slices.Repeat([]entratest.Fault{conflict}, 4)},
		"404 for what was created a moment ago": {"POST", "/appRoleAssignedTo", slices.Repeat([]entratest.Fault{
			refuse(404, "Request_ResourceNotFound", "Resource does not exist or one of its queried reference-property objects are not present."),
		}, 4)},
		"400 for what was created a moment ago": {"PATCH", "/servicePrincipals(appId", slices.Repeat([]entratest.Fault{
			refuse(400, "Request_BadRequest", "The appId does not reference a valid application object."),
		}, 4)},
		"a DELETE of a grant that exists": {"DELETE", "/appRoleAssignedTo/", []entratest.Fault{
			refuse(404, "Request_ResourceNotFound", "EntitlementGrant being updated or deleted is not found."),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, entratest.Config{})
			want := starter()
			if c.method == "DELETE" {
				w.apply(want)
				w.settle()
				want.Applications[0].Grants = nil
			}
			left := c.answers
			w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
				if len(left) == 0 || r.Method != c.method || !strings.Contains(r.Path, c.path) {
					return entratest.Fault{}
				}
				fault := left[0]
				left = left[1:]
				return fault
			})
			w.apply(want)
			require.Empty(t, left, "all answers were given")
			w.rounds(want)
			assert.Equal(t, endOf(t, want), stateOf(w.tenant))
		})
	}
}
