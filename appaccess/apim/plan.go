package apim

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/cloud"
)

// Options are the decisions of the person who moves an instance. The zero value
// decides nothing: a plan made with it has a complete report.
type Options struct {
	// TenantID is the Entra tenant that the Service works in. Applications of
	// another tenant cannot be adopted. Empty: no application is adopted, and
	// the report says so.
	TenantID string
	// Acknowledge are the IDs of findings that are accepted, one by one.
	Acknowledge []string
	// LeaveOut are objects that are not imported, as findings name them in
	// Where: apis/x, products/x, users/x, subscriptions/x, clientApplications/x.
	LeaveOut []string
	// AllAccess imports the built-in all-access subscription. Its key opens
	// every API.
	AllAccess bool
	// KeepExpiry carries end dates that lie ahead. API Management does not
	// enforce them; entragate does.
	KeepExpiry bool
	// Now is the current time; time.Now if nil.
	Now func() time.Time
}

// Plan is what a move would do. It is not safe for concurrent use.
type Plan struct {
	Findings []Finding
	Renames  []Rename
	// Missing are the kinds that the source could not show. Their section of the
	// document is missing, so that an import leaves such objects alone.
	Missing map[Kind]string

	instance *Instance
	options  Options
	now      time.Time
	document appaccess.Document

	apis, products, users, applications, subscriptions *ids
	merged                                             map[string]string // folded ID of an API to the API that it became part of
	source                                             map[string]string // entragate ID of a subscription to the original
	keys                                               Keys
}

// NewPlan plans the move of an instance. It fails only on options that cannot
// be: everything else is a finding.
func NewPlan(in *Instance, options Options) (*Plan, error) {
	if options.TenantID != "" && !cloud.IsGUID(options.TenantID) {
		return nil, errors.New("apim: Options.TenantID: must be a GUID")
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	p := &Plan{
		instance: in, options: options, now: options.Now(), Missing: in.Missing,
		merged: map[string]string{}, source: map[string]string{}, keys: Keys{},
	}
	p.apis, p.products, p.users = p.newIDs("apis"), p.newIDs("products"), p.newIDs("users")
	p.applications, p.subscriptions = p.newIDs("applications"), p.newIDs("subscriptions")
	p.document = appaccess.Document{Version: 1, APIs: []appaccess.DocumentAPI{}, Products: []appaccess.DocumentProduct{}}
	p.planAPIs()
	p.planProducts()
	p.planLooseAPIs()
	p.planUsers()
	p.planApplications()
	p.planSubscriptions()
	p.planPolicies()
	p.planRest()
	if err := p.unknownOptions(); err != nil {
		return nil, err
	}
	p.sortFindings()
	return p, nil
}

// unknownOptions refuses an object to leave out that does not exist: a spelling
// mistake would import what should stay out.
func (p *Plan) unknownOptions() error {
	var errs []error
	for _, where := range p.options.LeaveOut {
		kind, id, _ := strings.Cut(where, "/")
		known := false
		switch kind {
		case "apis":
			known = p.instance.api(id) != nil
		case "products":
			known = p.instance.product(id) != nil
		case "users":
			known = p.instance.user(id) != nil
		case "subscriptions":
			known = lookup(p.instance.Subscriptions, id, func(s *Subscription) string { return s.ID }) != nil
		case "clientApplications":
			known = lookup(p.instance.Applications, id, func(a *Application) string { return a.ID }) != nil
		}
		if !known {
			errs = append(errs, errors.New("apim: Options.LeaveOut: the instance has no "+where))
		}
	}
	return errors.Join(errs...)
}

func (p *Plan) leftOut(where string) bool {
	return slices.ContainsFunc(p.options.LeaveOut, func(o string) bool { return strings.EqualFold(o, where) })
}

// Unacknowledged are the findings that need a decision before there is a
// document.
func (p *Plan) Unacknowledged() []Finding {
	return slices.DeleteFunc(slices.Clone(p.Findings), func(f Finding) bool { return !f.blocks() })
}

// Document returns the products document, sections in the order of IDs. While
// findings need a decision it is an [*UnacknowledgedError]. Subscriptions whose
// keys were not added have none in the document: an import makes new ones for
// them, which their callers do not have.
func (p *Plan) Document() (appaccess.Document, error) {
	if open := p.Unacknowledged(); len(open) > 0 {
		return appaccess.Document{}, &UnacknowledgedError{open}
	}
	d := p.document
	d.Subscriptions = p.withKeys()
	return d, nil
}

func byID[T any](list []T, id func(*T) string) []T {
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(id(&a), id(&b)) })
	return list
}
