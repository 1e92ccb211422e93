package portal

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/entragate/entragate/appaccess"
)

// operation is something that one click does to an object: a change of state, a
// removal, a deletion. A GET of its address asks, a POST does it. What ends
// access says so and names who is affected; the page that follows offers the
// operation that reverts it.
type operation struct {
	Title    string // of the page that asks
	Nav      string
	Crumbs   []link
	Text     string // what happens
	Affected callers
	List     bool   // Affected are the objects that were chosen, not callers
	Ask      string // label of a text that goes with it, in the field answer; empty: none
	Label    string // of the button
	Safe     bool   // ends no access: the button is not a red one
	Back     string // where Cancel leads
	Instead  *link  // another way, such as to transfer what a user owns; nil: none

	// Once is set for an operation whose answer shows a value once.
	Once bool
	// Do does it. force is the answer to Force, if the page asked.
	Do func(force bool) error
	// Force, if not empty, is offered as a choice after a conflict.
	Force string
	// Done is the message that follows, To the page; empty: Back.
	Done, To string
	// Undo reverts it; nil: it cannot be reverted.
	Undo *undo
	// Answer, if set, writes the answer in place of Done and To.
	Answer func() error
}

// undo is a form that reverts an operation.
type undo struct {
	Path   string
	Fields url.Values
}

// operationPage asks before an operation.
type operationPage struct {
	operation
	Form  form
	Wrong string // why it was refused
	Final bool   // it cannot be reverted
	Force string // shown after a conflict
}

// asks is the route of an operation.
func (p *Portal) asks(path string, who audience, make func(*request) (operation, error)) route {
	return route{path, who,
		func(rq *request) error {
			op, err := make(rq)
			if err != nil {
				return err
			}
			return p.askFor(rq, http.StatusOK, op, form{Fields: answerFields(op)}, "", "")
		},
		func(rq *request) error {
			op, err := make(rq)
			if err != nil {
				return err
			}
			return p.perform(rq, op)
		},
	}
}

// answerFields are the fields of the page that asks.
func answerFields(op operation) []formField {
	if op.Ask == "" {
		return nil
	}
	return []formField{{"answer", op.Ask}}
}

func (p *Portal) askFor(rq *request, status int, op operation, f form, wrong, force string) error {
	if op.Once {
		var err error
		if f.Once, err = p.once(rq); err != nil {
			return err
		}
	}
	return p.write(rq, status, "operation", page{
		Title: op.Title, Nav: op.Nav, Crumbs: op.Crumbs,
		Data: operationPage{operation: op, Form: f, Wrong: wrong, Final: op.Undo == nil && !op.Safe, Force: force},
	})
}

func (p *Portal) perform(rq *request, op operation) error {
	f := p.sent(rq, answerFields(op))
	var err error
	if op.Once {
		err = p.oneTime(rq)
	}
	if errors.Is(err, errExpired) {
		return p.askFor(rq, http.StatusConflict, op, form{}, expiredText, "")
	}
	if err == nil {
		err = op.Do(f.Has("force", "yes"))
	}
	var conflict *appaccess.ConflictError
	var invalid *appaccess.InvalidError
	if errors.As(err, &invalid) && f.Takes(invalid.Field) {
		p.refuse(rq, &f, err)
		return p.askFor(rq, http.StatusBadRequest, op, f, "", "")
	}
	if errors.As(err, &conflict) {
		return p.askFor(rq, http.StatusConflict, op, f, p.sentence(rq, conflict), op.Force)
	}
	if err == nil && op.Answer != nil {
		return op.Answer()
	}
	to := op.To
	if to == "" {
		to = op.Back
	}
	return p.done(rq, err, op.Done, to, op.Undo)
}
