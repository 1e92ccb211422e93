package provision

import (
	"errors"
	"net/http"
	"slices"
	"strings"
)

// situation is the call that failed. The same error can mean different things in
// different situations.
type situation struct {
	op operation
	// fresh: the object was written a moment ago, so a replica may not have it yet.
	fresh bool
}

// operation is a kind of call to Graph. Its text is shown in errors.
type operation string

const (
	opRead            operation = "read"
	opCreate          operation = "create the application"
	opPatch           operation = "change the application"
	opCreatePrincipal operation = "create the service principal"
	opAssign          operation = "grant the app role"
	opUnassign        operation = "revoke the app role"
	opAddSecret       operation = "add a secret"
	opRemoveSecret    operation = "remove a secret"
	opFederate        operation = "add a federated credential"
	opUnfederate      operation = "remove a federated credential"
	opRestore         operation = "restore the deleted object"
	opDelete          operation = "remove"
)

// verdict says how to continue after an error.
type verdict string

const (
	isLag       verdict = "lag"       // retry: the replica that answered is behind
	isThrottle  verdict = "throttle"  // retry after the time that Graph names
	isUnknown   verdict = "unknown"   // retry, but the write may have been done already
	isPermanent verdict = "permanent" // fail: a retry does not help
	isQuota     verdict = "quota"     // fail, and create nothing more in this round
	isPolicy    verdict = "policy"    // fail: a policy of the tenant forbids the call
	isDone      verdict = "done"      // succeed: nothing is left to do
	// isGone: Graph does not find the object. If the object is fresh, this is treated
	// as lag until Config.LagBudget ends.
	isGone verdict = "gone"
	// isRefused: treated as lag for a short time, then as permanent.
	isRefused verdict = "refused"
	// isStale: the object has changed since it was read. Read it and compute the step
	// again.
	isStale verdict = "stale"
	// isHeld: another application, possibly a soft-deleted one, has the unique name.
	isHeld verdict = "held"
)

// final reports whether a retry cannot help.
func (v verdict) final() bool { return v == isPermanent || v == isQuota || v == isPolicy }

// rule is one row of the verdict table. An empty column matches every error. code is
// compared with the codes of the error and its details, and searched for in the message.
// fragment is searched for in all messages, ignoring case.
type rule struct {
	status   int
	code     string
	fragment string
	ops      []operation
	fresh    verdict // if situation.fresh
	old      verdict // otherwise
	advice   string  // {caller} is replaced by the calling identity
}

// deleting are the calls that can fail because their object does not exist.
var deleting = []operation{opRemoveSecret, opUnfederate, opDelete, opRestore}

const (
	adviceRetry      = "try again later; if it stays, the identifiers in the request are wrong"
	adviceCredential = "check the credential of the identity that provisions"
	adviceName       = "another application, maybe a deleted one, has this App ID URI: remove it there"
	adviceTenant     = "a Conditional Access policy for workload identities or a location policy blocks the identity that provisions: have it excluded"
	adviceURI        = "a policy of the tenant restricts App ID URIs: allow api://{appId}"
	adviceReference  = "the tenant requires a service management reference: set one on the application"
	adviceSecrets    = "a policy of the tenant forbids secrets: use a certificate or a federated credential instead, or have the policy except this application"
	adviceLifetime   = "a policy of the tenant limits the lifetime of secrets: ask for a shorter one, or use a certificate or a federated credential instead"
	adviceSize       = "the application holds too many credentials or permissions: remove some that are not used"
	adviceQuota      = "the identity that provisions has created as many objects as Entra allows it, deleted ones of the last 30 days included: delete some for good, or assign a role with microsoft.directory/applications/create to {caller}"
	adviceTenantFull = "the tenant holds as many objects as Entra allows: delete objects for good, or verify a domain to raise the limit"
	adviceDenied     = "denied, or still replicating: is the Application Administrator role assigned to {caller}? Assigning it needs the Privileged Role Administrator role; an access token that is older than the role does not carry it"
	adviceIdentity   = "the identity that provisions has no enabled service principal in this tenant, or it was created a moment ago"
)

// rules is the table that classifies Graph's errors. The first row that matches counts.
// TestErrorsSeen tests it with the errors that users reported and Microsoft documents
// (testdata/graph-errors.json).
var rules = []rule{
	// The token endpoint. Microsoft advises to use the number, not the text.
	{code: "AADSTS7000215", fresh: isLag, old: isPermanent, advice: adviceCredential},
	{code: "AADSTS700016", fresh: isLag, old: isPermanent, advice: adviceCredential},
	{code: "AADSTS700011", fresh: isLag, old: isPermanent, advice: adviceCredential},
	{code: "AADSTS500011", fresh: isLag, old: isPermanent, advice: "the resource has no service principal in the tenant"},
	{code: "AADSTS50105", fresh: isLag, old: isPermanent, advice: "the client has no app role on the resource"},
	{code: "AADSTS700027", fresh: isLag, old: isPermanent, advice: adviceCredential},
	{code: "AADSTS70021", fresh: isLag, old: isPermanent, advice: adviceCredential},
	{code: "AADSTS700211", fresh: isLag, old: isPermanent, advice: adviceCredential},
	{code: "AADSTS700213", fresh: isLag, old: isPermanent, advice: adviceCredential},
	{code: "AADSTS53003", fresh: isPolicy, old: isPolicy, advice: adviceTenant},
	{code: "AADSTS530032", fresh: isPolicy, old: isPolicy, advice: adviceTenant},
	{code: "AADSTS90055", fresh: isThrottle, old: isThrottle},
	{code: "AADSTS50196", fresh: isThrottle, old: isThrottle},
	{code: "AADSTS90061", fresh: isUnknown, old: isUnknown},
	{code: "AADSTS90033", fresh: isUnknown, old: isUnknown},
	{code: "AADSTS90006", fresh: isUnknown, old: isUnknown},
	{code: "AADSTS90024", fresh: isUnknown, old: isUnknown},
	{code: "AADSTS90090", fresh: isUnknown, old: isUnknown},
	{code: "AADSTS90093", fresh: isQuota, old: isQuota, advice: adviceTenantFull},
	{fragment: "AADSTS", fresh: isPermanent, old: isPermanent, advice: adviceCredential},

	// Any call.
	{status: http.StatusTooManyRequests, fresh: isThrottle, old: isThrottle},
	{code: "Request_ThrottledTemporarily", fresh: isThrottle, old: isThrottle},
	{status: http.StatusNotImplemented, fresh: isPermanent, old: isPermanent},
	{code: "Directory_ConcurrencyViolation", fresh: isUnknown, old: isUnknown},
	{code: "Directory_ReplicaUnavailable", fresh: isUnknown, old: isUnknown},
	{code: "Directory_BindingRedirection", fresh: isUnknown, old: isUnknown},
	{code: "Directory_ExpiredPageToken", fresh: isUnknown, old: isUnknown},
	{code: "Authentication_ExpiredToken", fresh: isUnknown, old: isUnknown},
	{fragment: "TokenCreatedWithOutdatedPolicies", fresh: isUnknown, old: isUnknown},
	{status: http.StatusRequestTimeout, fresh: isUnknown, old: isUnknown},
	{status: http.StatusFailedDependency, fresh: isUnknown, old: isUnknown},
	{status: http.StatusInternalServerError, fresh: isUnknown, old: isUnknown},
	{status: http.StatusBadGateway, fresh: isUnknown, old: isUnknown},
	{status: http.StatusServiceUnavailable, fresh: isUnknown, old: isUnknown},
	{status: http.StatusGatewayTimeout, fresh: isUnknown, old: isUnknown},
	{fragment: "size of the object has exceeded its limit", fresh: isPermanent, old: isPermanent, advice: adviceSize},
	{code: "Directory_ResourceSizeExceeded", fresh: isPermanent, old: isPermanent, advice: adviceSize},
	{code: "Directory_QuotaExceeded", fragment: "for the Tenant", fresh: isQuota, old: isQuota, advice: adviceTenantFull},
	{code: "Directory_QuotaExceeded", fresh: isQuota, old: isQuota, advice: adviceQuota},
	{fragment: "quota limit for the Principal has been exceeded", fresh: isQuota, old: isQuota, advice: adviceQuota},
	{code: "CredentialTypeNotAllowedAsPerAppPolicy", fresh: isPolicy, old: isPolicy, advice: adviceSecrets},
	{code: "CredentialInvalidLifetimeAsPerAppPolicy", fresh: isPolicy, old: isPolicy, advice: adviceLifetime},
	{code: "HostNameNotOnVerifiedDomain", fresh: isPolicy, old: isPolicy, advice: adviceURI},
	{fragment: "must contain a tenant verified domain", fresh: isPolicy, old: isPolicy, advice: adviceURI},
	{fragment: "must use a verified domain", fresh: isPolicy, old: isPolicy, advice: adviceURI},
	{fragment: "ServiceManagementReference", fresh: isPolicy, old: isPolicy, advice: adviceReference},
	{code: "ServiceTreeValueMissing", fresh: isPolicy, old: isPolicy, advice: adviceReference},
	{fragment: "LocationConditionEvaluationSatisfied", fresh: isPolicy, old: isPolicy, advice: adviceTenant},
	{fragment: "must in the local tenant", ops: []operation{opCreatePrincipal}, fresh: isLag, old: isLag},
	{fragment: "must be in the local tenant", ops: []operation{opCreatePrincipal}, fresh: isLag, old: isLag},
	{code: "Authorization_IdentityNotFound", fresh: isRefused, old: isRefused, advice: adviceIdentity},
	{code: "Authorization_IdentityDisabled", fresh: isRefused, old: isRefused, advice: adviceIdentity},
	{status: http.StatusForbidden, code: "Authorization_RequestDenied", fresh: isRefused, old: isRefused, advice: adviceDenied},
	{status: http.StatusForbidden, code: "accessDenied", fresh: isRefused, old: isRefused, advice: adviceDenied},
	{status: http.StatusForbidden, code: "Forbidden", fresh: isRefused, old: isRefused, advice: adviceDenied},
	{fragment: "same value for property identifierUris already exists", fresh: isPermanent, old: isPermanent, advice: adviceName},

	// Applications.
	{fragment: "value for property uniqueName already exists", ops: []operation{opCreate}, fresh: isHeld, old: isHeld},
	{code: "ObjectConflict", fragment: "identifierUri", ops: []operation{opCreate}, fresh: isPermanent, old: isPermanent, advice: adviceName},
	{code: "ObjectConflict", ops: []operation{opCreate}, fresh: isHeld, old: isHeld},
	{fragment: "conflicting object with one or more of the specified", ops: []operation{opCreate}, fresh: isHeld, old: isHeld},
	{code: "CannotDeleteOrUpdateEnabledEntitlement", ops: []operation{opPatch}, fresh: isStale, old: isStale},
	{code: "Error_MsaAppDoesNotExist", ops: []operation{opCreate, opPatch}, fresh: isLag, old: isLag},
	{status: http.StatusConflict, ops: []operation{opPatch}, fresh: isUnknown, old: isUnknown},

	// Service principals.
	{code: "NoBackingApplicationObject", ops: []operation{opCreatePrincipal}, fresh: isLag, old: isLag},
	{fragment: "does not reference a valid application object", ops: []operation{opCreatePrincipal}, fresh: isLag, old: isLag},
	{code: "Request_MultipleObjectsWithSameKeyValue", ops: []operation{opCreatePrincipal}, fresh: isLag, old: isLag}, // the next upsert sees it
	{status: http.StatusConflict, ops: []operation{opCreatePrincipal}, fresh: isLag, old: isLag},

	// Grants.
	{fragment: "Permission being assigned already exists", ops: []operation{opAssign}, fresh: isDone, old: isDone},
	{fragment: "EntitlementGrant entry already exists", ops: []operation{opAssign}, fresh: isDone, old: isDone},
	{fragment: "Not a valid reference update", ops: []operation{opAssign}, fresh: isLag, old: isPermanent, advice: adviceRetry},
	{fragment: "Permission being assigned was not found", ops: []operation{opAssign}, fresh: isLag, old: isPermanent, advice: adviceRetry},
	{fragment: "resourceId was not found", ops: []operation{opAssign}, fresh: isLag, old: isPermanent, advice: adviceRetry},
	// Graph was observed to answer this for grants that exist, so reads confirm that the
	// grant is gone.
	{fragment: "EntitlementGrant being updated or deleted is not found", ops: []operation{opUnassign}, fresh: isStale, old: isDone},
	{status: http.StatusNotFound, ops: []operation{opUnassign}, fresh: isStale, old: isDone},

	// Credentials.
	{fragment: "FederatedIdentityCredential with name", ops: []operation{opFederate}, fresh: isDone, old: isDone},
	{fragment: "No password credential found", ops: []operation{opRemoveSecret}, fresh: isGone, old: isDone},
	{status: http.StatusNotFound, ops: deleting, fresh: isGone, old: isDone},
	{status: http.StatusNotFound, ops: []operation{opRead}, fresh: isGone, old: isGone},
	{status: http.StatusNotFound, fresh: isLag, old: isPermanent},
	{code: "PrincipalNotFound", fresh: isLag, old: isPermanent, advice: adviceRetry},
}

// matches reports whether the row applies to an error of a call.
func (r *rule) matches(e *APIError, op operation) bool {
	return (r.status == 0 || r.status == e.Status) && (r.code == "" || e.has(r.code)) &&
		(r.fragment == "" || e.says(r.fragment)) && (r.ops == nil || slices.Contains(r.ops, op))
}

// judge returns the first row that matches an error; nil if none does.
func judge(e *APIError, op operation) *rule {
	for i := range rules {
		if rules[i].matches(e, op) {
			return &rules[i]
		}
	}
	return nil
}

// classify returns the verdict on an error. It is isUnknown for an error that is not an
// answer of Graph. For an answer that matches no row it is isUnknown if the status is
// 5xx, otherwise isPermanent.
func classify(err error, s situation) verdict {
	var api *APIError
	if !errors.As(err, &api) {
		return isUnknown
	}
	r := judge(api, s.op)
	switch {
	case r == nil && api.Status >= 500:
		return isUnknown
	case r == nil:
		return isPermanent
	case s.fresh:
		return r.fresh
	}
	return r.old
}

// isDenied reports whether Graph refused a call because the caller has no right to it.
func isDenied(e *APIError) bool {
	return e.Status == http.StatusForbidden && (e.Code == "Authorization_RequestDenied" || e.Code == "accessDenied" || e.Code == "Forbidden")
}

// notFound reports whether Graph answered that the object does not exist.
func notFound(err error) bool {
	var api *APIError
	return errors.As(err, &api) && api.Status == http.StatusNotFound
}

// has reports whether the error or one of its details has a code, or the message
// contains the code as a whole word.
func (e *APIError) has(code string) bool {
	if strings.EqualFold(e.Code, code) {
		return true
	}
	for _, d := range e.Details {
		if strings.EqualFold(d.Code, code) {
			return true
		}
	}
	_, rest, found := strings.Cut(e.Message, code)
	return found && (rest == "" || !isWord(rest[0])) // AADSTS70001 is not AADSTS700011
}

func isWord(b byte) bool {
	return b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z' || b == '_'
}

// says looks for a text in the messages, ignoring case.
func (e *APIError) says(text string) bool {
	text = strings.ToLower(text)
	if strings.Contains(strings.ToLower(e.Message), text) {
		return true
	}
	for _, d := range e.Details {
		if strings.Contains(strings.ToLower(d.Message), text) {
			return true
		}
	}
	return false
}
