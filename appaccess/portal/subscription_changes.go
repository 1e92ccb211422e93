package portal

import (
	"github.com/entragate/entragate/appaccess"
)

// subscriptionOperation is the frame of what is done to a subscription.
func (p *Portal) subscriptionOperation(rq *request) (appaccess.Subscription, operation, error) {
	one, err := p.service.Subscription(rq.Context(), rq.actor, rq.PathValue("subscription"))
	if err != nil {
		return one, operation{}, err
	}
	back := p.subscriptionPath(rq, one.ID)
	op := operation{Nav: rq.nav("subscriptions"), Crumbs: append(p.subscriptionCrumbs(rq), link{one.Name, back}), Back: back}
	op.Affected.add(p.subscriptionCaller(rq, one))
	return one, op, nil
}

// subscriptionState makes an operation that moves a subscription on.
func (p *Portal) subscriptionState(rq *request, to appaccess.SubscriptionState, label, text, done, back string) (operation, error) {
	one, op, err := p.subscriptionOperation(rq)
	op.Title, op.Label, op.Text, op.Done = label+" "+one.Name, label, text, done
	if back != "" {
		op.Undo = &undo{Path: p.path("subscriptions", one.ID, back)}
	}
	op.Do = func(bool) error {
		_, err := p.service.SetSubscriptionState(rq.Context(), rq.actor, one.ID, to)
		return err
	}
	return op, err
}

func (p *Portal) activateSubscription(rq *request) (operation, error) {
	op, err := p.subscriptionState(rq, appaccess.SubscriptionActive, "Activate", "Its keys work from now on.", "Activated: the subscription's keys work.", "suspend")
	op.Safe = true
	return op, err
}

func (p *Portal) rejectSubscription(rq *request) (operation, error) {
	return p.subscriptionState(rq, appaccess.SubscriptionRejected, "Reject", "The request is refused for good. Its owner sees that in the portal and may ask again.", "Rejected.", "")
}

func (p *Portal) suspendSubscription(rq *request) (operation, error) {
	return p.subscriptionState(rq, appaccess.SubscriptionSuspended, "Suspend", "Every gate refuses both keys at once, until it is activated again.", "Suspended: every gate refuses the subscription's keys.", "activate")
}

func (p *Portal) cancelSubscription(rq *request) (operation, error) {
	return p.subscriptionState(rq, appaccess.SubscriptionCancelled, "Cancel", "Every gate refuses both keys at once. A cancelled subscription cannot be activated again.", "Cancelled: every gate refuses the subscription's keys.", "")
}

func (p *Portal) deleteSubscription(rq *request) (operation, error) {
	one, op, err := p.subscriptionOperation(rq)
	op.Title, op.Label, op.To, op.Done = "Delete "+one.Name, "Delete subscription", p.path("subscriptions"), "Subscription deleted."
	op.Text = "Every gate refuses both keys at once, and the subscription is gone."
	op.Do = func(bool) error { return p.service.DeleteSubscription(rq.Context(), rq.actor, one.ID) }
	return op, err
}

// regenerateKey makes one of the two keys anew and shows it once.
func (p *Portal) regenerateKey(rq *request) (operation, error) {
	slot := appaccess.KeySlot(rq.PathValue("slot"))
	if slot != appaccess.PrimaryKey && slot != appaccess.SecondaryKey {
		return operation{}, appaccess.ErrNotFound
	}
	one, op, err := p.subscriptionOperation(rq)
	if err != nil {
		return op, err
	}
	op.Title, op.Label, op.Once = "Regenerate the "+string(slot)+" key", "Regenerate "+string(slot)+" key", true
	op.Text = "Every gate refuses the old " + string(slot) + " key at once; the other key goes on working. The new key is shown once."
	var key appaccess.Secret
	op.Do = func(bool) (err error) {
		key, err = p.service.RegenerateKey(rq.Context(), rq.actor, one.ID, slot)
		return err
	}
	op.Answer = func() error {
		header, err := p.keyHeaders(rq, one.Scope)
		if err != nil {
			header = keyHeader // the new key must be shown
		}
		return p.show(rq, "shown", page{
			Title: "Your new " + string(slot) + " key", Nav: op.Nav, Crumbs: op.Crumbs,
			Data: shownPage{
				Values: []shownValue{{words(slot) + " key", key.Reveal()}},
				Facts:  []shownValue{{"Subscription", one.Name}, {"Header", header}},
				Note:   keyNote + " The old " + string(slot) + " key is refused from now on.", Back: op.Back,
			},
		})
	}
	return op, nil
}
