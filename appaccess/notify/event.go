package notify

import (
	"time"

	"github.com/entragate/entragate/appaccess"
)

// The types of events.
const (
	RequestMade      = "com.entragate.request.made"
	RequestApproved  = "com.entragate.request.approved"
	RequestRejected  = "com.entragate.request.rejected"
	CredentialAdded  = "com.entragate.credential.added"
	AccessSuspended  = "com.entragate.access.suspended"
	CredentialEnding = "com.entragate.credential.ending" // in 30, 7 and 1 days
	OutOfSync        = "com.entragate.entra.outofsync"   // for an hour
)

// Event is something that happened. It holds no secret.
type Event struct {
	ID   string    `json:"id"`
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	// Kind, Object and Name are what it is about: an application, product, user,
	// subscription or request.
	Kind   appaccess.Kind `json:"kind"`
	Object string         `json:"object"`
	Name   string         `json:"name,omitempty"`
	// Actor is who did it, by ID and name; empty if time did.
	Actor     string `json:"actor,omitempty"`
	ActorName string `json:"actorName,omitempty"`
	// Owner is the user ID of the object's owner, if it has one.
	Owner string `json:"owner,omitempty"`
	// Details say more: of a CredentialEnding the credential, its end and the
	// days that are left; of an OutOfSync the error.
	Details map[string]string `json:"details,omitempty"`
}

// eventTypes are the types that actions of the audit trail have.
var eventTypes = map[string]string{
	"request.open": RequestMade, "request.approve": RequestApproved, "request.reject": RequestRejected,
	"credential.add":      CredentialAdded,
	"application.suspend": AccessSuspended, "product.suspend": AccessSuspended,
	"user.block": AccessSuspended, "subscription.suspended": AccessSuspended,
}

// eventOf returns the event that an audit record describes, if any.
func eventOf(a appaccess.AuditRecord) (Event, bool) {
	kind, ok := eventTypes[a.Action]
	return Event{
		ID: a.ID, Type: kind, Time: a.Time, Kind: a.Kind, Object: a.Object, Name: a.Name,
		Actor: a.Actor, ActorName: a.ActorName, Owner: a.Details["owner"], Details: a.Details,
	}, ok
}

// cloudEvent is an event as webhooks get it (CloudEvents 1.0, JSON format).
type cloudEvent struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            Event     `json:"data"`
}
