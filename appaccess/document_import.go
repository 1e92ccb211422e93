package appaccess

import (
	"context"
	"errors"
	"fmt"
)

// ImportReport says what an import did.
type ImportReport struct {
	Differences []Difference
	// Subscriptions are those that were created, with the keys that the document
	// did not bring, which cannot be read again.
	Subscriptions []IssuedSubscription
}

// Import makes the configuration what a document says, in one transaction: all
// of it or, with any other error than a [*ProvisionError], nothing. The rules
// of the single methods hold, except that a product may be granted or
// subscribed to before it is published, since such states arise. Objects that
// the document takes away are ended as by force. Entra follows afterwards. For
// managers only.
func (s *Service) Import(ctx context.Context, by Actor, d Document, req ImportRequest) (ImportReport, error) {
	if err := d.check(); err != nil {
		return ImportReport{}, err
	}
	var report ImportReport
	var behind targets
	err := s.manage(ctx, by, func(e *edit) error {
		im := &importer{edit: e, s: s, doc: d}
		if err := im.run(req.Prune); err != nil {
			return err
		}
		report, behind = im.report, im.behind
		return nil
	})
	if err != nil {
		return ImportReport{}, err
	}
	var errs []error
	for chunk := range behind.chunks() {
		errs = append(errs, s.follow(ctx, chunk))
	}
	return report, errors.Join(errs...)
}

// check refuses what can be seen without the store.
func (d *Document) check() error {
	if d.Version != documentVersion {
		return &InvalidError{"version", "must be 1"}
	}
	for i, v := range d.APIs {
		if err := firstError(checkID("id", v.ID), checkAPI(v.api())); err != nil {
			return at("apis", i, err)
		}
	}
	for i, v := range d.Products {
		p := Product{Name: v.Name, Description: v.Description}
		if err := firstError(checkID("id", v.ID), checkProduct(&p), checkIDs("apis", v.APIs, 0, maxProductAPIs)); err != nil {
			return at("products", i, err)
		}
	}
	for i := range d.Users {
		if err := d.Users[i].check(); err != nil {
			return at("users", i, err)
		}
	}
	for i, v := range d.Applications {
		a := ClientApplication{Name: v.Name, Description: v.Description, OwnerID: v.OwnerID}
		if err := firstError(checkID("id", v.ID), checkApplication(&a), checkIDs("products", v.Products, 0, maxProducts)); err != nil {
			return at("applications", i, err)
		}
	}
	for i := range d.Subscriptions {
		if err := d.Subscriptions[i].check(); err != nil {
			return at("subscriptions", i, err)
		}
	}
	return firstError(
		noTwice("apis", d.APIs),
		noTwice("products", d.Products),
		noTwice("users", d.Users),
		noTwice("applications", d.Applications),
		noTwice("subscriptions", d.Subscriptions),
	)
}

func (v *DocumentAPI) api() *API {
	return &API{ID: v.ID, Name: v.Name, Path: v.Path, Description: v.Description, ServiceURL: v.ServiceURL}
}

func (v *DocumentUser) check() error {
	err := firstError(checkID("id", v.ID), checkText("name", v.Name, 1, maxName), checkEmail(v.Email))
	if err != nil || v.TenantID == "" && v.ObjectID == "" {
		return err
	}
	tid, err1 := checkGUID("tenantId", v.TenantID)
	oid, err2 := checkGUID("objectId", v.ObjectID)
	v.TenantID, v.ObjectID = tid, oid
	return firstError(err1, err2)
}

func (v *DocumentSubscription) check() error {
	sub := Subscription{Name: v.Name, OwnerID: v.OwnerID, Scope: v.Scope}
	v.Expires = storedTime(v.Expires)
	if _, known := next[v.State]; !known && v.State != SubscriptionRejected && v.State != SubscriptionCancelled {
		return &InvalidError{"state", "must be submitted, active, suspended, rejected, cancelled or expired"}
	}
	return firstError(checkID("id", v.ID), checkSubscription(&sub, v.Expires), broughtKeys(v.PrimarySum, v.SecondarySum).check())
}

// at says which entry of a section an error is about.
func at(section string, i int, err error) error {
	return within(fmt.Sprintf("%s[%d]", section, i), err)
}

func within(place string, err error) error {
	var invalid *InvalidError
	var conflict *ConflictError
	switch {
	case errors.As(err, &invalid):
		return &InvalidError{place + "." + invalid.Field, invalid.Rule}
	case errors.As(err, &conflict):
		return &ConflictError{place + "." + conflict.Field, conflict.Reason, conflict.Objects}
	}
	return err
}

func noTwice[T keyed](section string, list []T) error {
	seen := make(map[string]bool, len(list))
	for i, v := range list {
		if seen[v.key()] {
			return &InvalidError{fmt.Sprintf("%s[%d].id", section, i), fmt.Sprintf("%q is there twice", v.key())}
		}
		seen[v.key()] = true
	}
	return nil
}

// importer takes one document within one transaction.
type importer struct {
	*edit
	s      *Service
	doc    Document
	report ImportReport
	behind targets
	// What was placed, to be checked when everything is.
	products      []Product
	applications  []ClientApplication
	subscriptions []Subscription
}

func (im *importer) run(prune bool) error {
	now, err := im.document()
	if err != nil {
		return err
	}
	diffs, err := diffDocuments(now, im.doc, prune)
	if err != nil {
		return err
	}
	im.report.Differences = diffs
	// What goes makes room for what comes; what others refer to goes last and
	// comes first.
	for _, kind := range []Kind{KindSubscription, KindApplication, KindProduct, KindAPI, KindUser} {
		if err := im.removeAll(diffs, kind); err != nil {
			return err
		}
	}
	differs := map[string]bool{}
	for _, d := range diffs {
		differs[auditObject(d.Kind, d.ID)] = d.Change != DiffDelete
	}
	return firstOf(
		func() error { return placeAll(differs, KindUser, im.doc.Users, im.placeUser) },
		func() error { return placeAll(differs, KindAPI, im.doc.APIs, im.placeAPI) },
		func() error { return placeAll(differs, KindProduct, im.doc.Products, im.placeProduct) },
		func() error { return placeAll(differs, KindApplication, im.doc.Applications, im.placeApplication) },
		func() error { return placeAll(differs, KindSubscription, im.doc.Subscriptions, im.placeSubscription) },
		im.verify,
	)
}

func firstOf(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func placeAll[T keyed](differs map[string]bool, kind Kind, section []T, place func(T) error) error {
	for _, v := range section {
		if !differs[auditObject(kind, v.key())] {
			continue
		}
		if err := place(v); err != nil {
			return within(string(kind)+" "+v.key(), err)
		}
	}
	return nil
}

func (im *importer) removeAll(diffs []Difference, kind Kind) error {
	for _, d := range diffs {
		if d.Kind != kind || d.Change != DiffDelete {
			continue
		}
		if err := im.remove(d); err != nil {
			return within(string(kind)+" "+d.ID, err)
		}
	}
	return nil
}

// remove deletes an object, and what hangs on it, as by force.
func (im *importer) remove(d Difference) error {
	switch d.Kind {
	case KindSubscription:
		return im.dropSubscription(d.ID)
	case KindApplication:
		a, err := find[ClientApplication](im, d.ID)
		im.behind.applications = append(im.behind.applications, d.ID)
		if err != nil {
			return err
		}
		return im.dropApplication(&a)
	case KindProduct:
		revoked, err := im.dropProduct(d.ID, true)
		im.behind.products = append(im.behind.products, d.ID)
		im.behind.applications = append(im.behind.applications, revoked...)
		return err
	case KindAPI:
		return firstError(im.w.Delete(KindAPI, d.ID), im.audit("api.delete", KindAPI, d.ID, nil))
	}
	return firstError(im.w.Delete(KindUser, d.ID), im.audit("user.delete", KindUser, d.ID, nil))
}
