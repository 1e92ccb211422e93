package appaccess

import "time"

// Request is what a person asks an API manager for. Nothing exists in Entra, and
// no key or secret is made, before a manager approves it.
type Request struct {
	ID    string       `json:"id"`
	Kind  RequestKind  `json:"kind"`
	State RequestState `json:"state"`
	// UserID is the developer who asks. It is empty in a request for an account,
	// which names the Entra account instead.
	UserID   string `json:"userId,omitempty"`
	TenantID string `json:"tenantId,omitempty"`
	ObjectID string `json:"objectId,omitempty"`
	// Name is the name of the requested application or subscription, or of the
	// person. A person's Name and Email are what the person or their token says:
	// nobody has verified them.
	Name        string `json:"name,omitempty"`
	Email       string `json:"email,omitempty"`
	Description string `json:"description,omitempty"`
	Reason      string `json:"reason,omitempty"`
	// ServicePrincipal is the existing service principal that shall be the client
	// application. The developer names it: before you approve, make sure that the
	// developer may use it.
	ServicePrincipal ServicePrincipal `json:"servicePrincipal,omitzero"`
	// ApplicationID is the client application that shall get more products.
	ApplicationID string `json:"applicationId,omitempty"`
	// Grants are the requested products; for a subscription, one.
	Grants Grants `json:"grants,omitempty"`

	// DecidedBy and the next fields are set once the request is decided.
	DecidedBy string    `json:"decidedBy,omitempty"` // user ID
	Decided   time.Time `json:"decided,omitzero"`
	Answer    string    `json:"answer,omitempty"` // of the manager, for the developer
	// Granted are the grants that a manager approved, of the requested ones.
	Granted Grants `json:"granted,omitempty"`
	// Result is the ID of the user, application or subscription that an approval
	// created, or of the application that got products.
	Result string `json:"result,omitempty"`

	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// RequestKind says what a [Request] asks for.
type RequestKind string

// The kinds of request.
const (
	AccountRequest           RequestKind = "account"      // to become a user
	ClientApplicationRequest RequestKind = "application"  // a client application
	ProductsRequest          RequestKind = "products"     // more products or permissions for one
	SubscriptionKeysRequest  RequestKind = "subscription" // a subscription to a product
)

// RequestState says whether a [Request] is decided. An open request can be decided;
// the other states are final.
type RequestState string

// The states of a request.
const (
	RequestOpen      RequestState = "open"
	RequestApproved  RequestState = "approved"
	RequestRejected  RequestState = "rejected"
	RequestWithdrawn RequestState = "withdrawn"
)

// The limits of requests.
const (
	maxOpenAccounts = 1000 // open requests for an account, in all
	maxOpenRequests = 20   // open requests of a developer
	maxRequests     = 200  // requests of a developer that are kept; older ones are in the audit trail
)

func requestRecord(r *Request) Record {
	index := []IndexEntry{
		{Name: byOwner, Value: r.UserID},
		{Name: byState, Value: string(r.State)},
		{Name: byKind, Value: string(r.Kind)},
		{Name: byCreated, Value: timeValue(r.Created)},
	}
	if r.Kind == AccountRequest {
		index = append(index, IndexEntry{Name: byAccount, Value: entraAccount(r.TenantID, r.ObjectID)})
	}
	if r.State == RequestOpen {
		index = append(index, IndexEntry{Name: byOpen, Value: r.UserID})
		if r.Kind == AccountRequest {
			index = append(index, unique(byEntra, entraAccount(r.TenantID, r.ObjectID)))
		}
	}
	return Record{ID: r.ID, Index: entries(append(index, searchable(r.Name, r.ID, r.Email, r.UserID)...)...)}
}

func requestID(r *Request) string { return r.ID }
