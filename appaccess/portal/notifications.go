package portal

import (
	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/notify"
)

// notificationRow is an event with its deliveries.
type notificationRow struct {
	notify.Notification
	What string // happened
	On   link
}

type notificationsPage struct {
	listing[notificationRow]
	Off bool // no outbox is configured
}

// eventWords are the types of events in words.
var eventWords = map[string]string{
	notify.RequestMade: "Request made", notify.RequestApproved: "Request approved", notify.RequestRejected: "Request rejected",
	notify.CredentialAdded: "Credential added", notify.CredentialEnding: "Credential ends soon",
	notify.AccessSuspended: "Access suspended", notify.OutOfSync: "Not in sync with Entra",
}

func (p *Portal) showNotifications(rq *request) error {
	data := notificationsPage{Off: p.outbox == nil}
	if p.outbox != nil {
		found, err := p.outbox.List(rq.Context(), rq.URL.Query().Get("after"), pageSize)
		if err != nil {
			return err
		}
		var all []appaccess.Ref
		for _, one := range found.Items {
			all = append(all, appaccess.Ref{Kind: one.Event.Kind, ID: one.Event.Object})
		}
		book, err := p.namesOf(rq, all...)
		if err != nil {
			return err
		}
		var rows []notificationRow
		for _, one := range found.Items {
			rows = append(rows, notificationRow{one, eventWords[one.Event.Type], book.Link(one.Event.Kind, one.Event.Object, one.Event.Name)})
		}
		data.listing = listed(rq, controls{}, found, rows)
	}
	return p.show(rq, "notifications", page{
		Title: "Notifications", Nav: "notifications", Data: data,
		Lead: "What was sent to the configured receivers in the last 30 days, and what could not be delivered.",
	})
}

// redeliver sends an event again. It harms nobody, so it does not ask first.
func (p *Portal) redeliver(rq *request) error {
	if p.outbox == nil {
		return appaccess.ErrNotFound
	}
	err := p.outbox.Redeliver(rq.Context(), rq.PathValue("notification"))
	return p.done(rq, err, "The notification is sent again with the next turn.", p.path("notifications"), nil)
}
