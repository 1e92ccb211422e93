package appaccess

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// targets are the objects that Entra is to follow in.
type targets struct{ products, applications []string }

func (t targets) empty() bool { return len(t.products)+len(t.applications) == 0 }

// followProduct lets Entra follow one product and reads what was recorded.
func (s *Service) followProduct(ctx context.Context, by Actor, p Product) (Product, error) {
	if !p.Sync.Pending {
		return p, nil
	}
	err := s.follow(ctx, targets{products: []string{p.ID}})
	return s.reread(ctx, by, p), err
}

// reread is the object as it now stands, or else as it was stored before.
func (s *Service) reread(ctx context.Context, by Actor, p Product) Product {
	if now, err := s.Product(context.WithoutCancel(ctx), by, p.ID); err == nil {
		return now
	}
	return p
}

// followApplication lets Entra follow one application and reads what was
// recorded.
func (s *Service) followApplication(ctx context.Context, by Actor, a ClientApplication) (ClientApplication, error) {
	if !a.Sync.Pending {
		return shownApplication(by, a), nil
	}
	err := s.follow(ctx, targets{applications: []string{a.ID}})
	if now, rerr := s.Application(context.WithoutCancel(ctx), by, a.ID); rerr == nil {
		return now, err
	}
	return shownApplication(by, a), err
}

// follow makes Entra follow in those of the targets that are pending. The error
// joins one ProvisionError for each object that failed.
func (s *Service) follow(ctx context.Context, t targets) error {
	want, err := s.wanted(ctx, t, false)
	if err != nil {
		return err
	}
	_, _, err = s.apply(ctx, want, nil)
	return err
}

// apply has the Provisioner work and records how far it got. failed counts the
// objects that are not in step.
func (s *Service) apply(ctx context.Context, want Wanted, progress func(Progress)) (lost map[string][]Credential, failed int, err error) {
	if len(want.Products)+len(want.Applications) == 0 {
		return nil, 0, nil
	}
	var done Applied
	err = errNoEntra()
	if s.entra != nil {
		done, err = s.entra.Apply(ctx, want, progress)
	}
	// What was done is recorded even if the caller has gone away meanwhile.
	after, cancel := afterwards(ctx)
	defer cancel()
	failures, err := s.record(after, want, done, err)
	for _, f := range failures {
		s.log.WarnContext(ctx, "entra could not follow", "error", f)
		err = errors.Join(err, f)
	}
	return done.Lost, len(failures), err
}

// record stores what Apply returned and gives the failures. An object that
// changed while Apply worked stays pending: the one who changed it is at work,
// or Sync will be.
func (s *Service) record(ctx context.Context, want Wanted, done Applied, failed error) (failures []error, err error) {
	outcome := func(object string) error {
		cause := done.Failed[object]
		if cause == nil {
			cause = failed
		}
		if cause == nil {
			return nil
		}
		failures = append(failures, &ProvisionError{Object: object, Err: cause})
		return cause
	}
	_, err = s.store.Update(ctx, func(w Writer) error {
		failures = nil
		e, err := s.edit(w, Actor{})
		if err != nil {
			return err
		}
		for _, p := range want.Products {
			if err := s.recordProduct(e, p, done.Products[p.ID], outcome("product "+p.ID)); err != nil {
				return err
			}
		}
		for _, a := range want.Applications {
			if err := s.recordApplication(e, a, done.Applications[a.ID], outcome("application "+a.ID)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("appaccess: record what stands in Entra: %w", err)
	}
	return failures, err
}

func (s *Service) recordProduct(e *edit, want WantedProduct, got ProductApplication, failed error) error {
	p, err := find[Product](e, want.ID)
	if err != nil {
		return ignoreNotFound(err)
	}
	before := p
	if got != (ProductApplication{}) {
		p.Entra = got
	}
	if failed == nil && want.Absent {
		p.Entra = ProductApplication{}
	}
	if failed == nil && !want.Absent && p.Adopt == want.Adopt {
		p.Adopt = ""
	}
	// Names and adoption are settled by what was recorded: no change to compare.
	now := s.wantedProduct(&p)
	p.Sync = e.outcome(failed, now.Absent == want.Absent && now.Description == want.Description)
	if p.Deleted && !p.Sync.Pending {
		return e.w.Delete(KindProduct, p.ID)
	}
	if before.Sync == (Sync{At: before.Sync.At}) && !p.Sync.Pending && p.Entra == before.Entra {
		return nil // nothing new: a full Sync must not rewrite the store
	}
	return write(e, &p)
}

func (s *Service) recordApplication(e *edit, want WantedApplication, got ApplicationRegistration, failed error) error {
	a, err := find[ClientApplication](e, want.ID)
	if err != nil {
		return ignoreNotFound(err)
	}
	before := a
	if got != (ApplicationRegistration{}) {
		a.Entra = got
	}
	if failed == nil && !want.Absent && a.Adopt == want.Adopt {
		a.Adopt = ""
	}
	now, err := s.wantedApplication(&e.look, &a)
	if err != nil {
		return err
	}
	now.Adopt, now.ApplicationName = want.Adopt, want.ApplicationName
	a.Sync = e.outcome(failed, reflect.DeepEqual(now, want))
	if a.Deleted && !a.Sync.Pending {
		return e.forgetApplication(a.ID)
	}
	a.settle()
	if before.Sync == (Sync{At: before.Sync.At}) && !a.Sync.Pending && a.Entra == before.Entra && a.State == before.State {
		return nil
	}
	return write(e, &a)
}

func (e *edit) outcome(failed error, current bool) Sync {
	if failed != nil {
		return Sync{Pending: true, Error: shorten(failed.Error(), 500), At: e.now}
	}
	return Sync{Pending: !current, At: e.now}
}

// forgetApplication removes an application and everything of it.
func (e *edit) forgetApplication(id string) error {
	creds, err := e.credentials(id)
	if err != nil {
		return err
	}
	for _, c := range creds {
		if err := e.w.Delete(KindCredential, c.ID); err != nil {
			return err
		}
	}
	if err := e.forgetHandovers(id); err != nil {
		return err
	}
	return firstError(e.w.Delete(kindOperation, id), e.w.Delete(KindApplication, id))
}

// wanted is what Entra is to hold of the targets: of the pending ones, or of
// every one. Pending products that the applications are granted are with them.
func (s *Service) wanted(ctx context.Context, t targets, every bool) (Wanted, error) {
	var want Wanted
	err := s.store.View(ctx, func(r Reader) error {
		want = Wanted{}
		l := &look{Reader: r}
		needed := map[string]bool{} // product IDs: whether to take one that is not pending
		for _, id := range t.products {
			needed[id] = every
		}
		for _, id := range t.applications {
			a, err := find[ClientApplication](l, id)
			if ignoreNotFound(err) != nil {
				return err
			}
			if err != nil || !a.Sync.Pending && !every {
				continue
			}
			wa, err := s.wantedApplication(l, &a)
			if err != nil {
				return err
			}
			want.Applications = append(want.Applications, wa)
			for _, product := range a.Products {
				needed[product] = needed[product]
			}
		}
		for _, id := range slices.Sorted(maps.Keys(needed)) {
			p, err := find[Product](l, id)
			if ignoreNotFound(err) != nil {
				return err
			}
			if err == nil && (p.Sync.Pending || needed[id] && inEntra(&p)) {
				want.Products = append(want.Products, s.wantedProduct(&p))
			}
		}
		return nil
	})
	return want, err
}

// inEntra reports whether Entra is to hold something of a product, or does.
func inEntra(p *Product) bool {
	return p.Access.Token || p.Sync.Pending || p.Entra != ProductApplication{}
}

func (s *Service) wantedProduct(p *Product) WantedProduct {
	if p.Deleted || !p.Access.Token {
		return WantedProduct{ID: p.ID, Absent: true}
	}
	return WantedProduct{
		ID: p.ID, Description: p.Description, Adopt: p.Adopt,
		ApplicationName: standing(p.Entra.Name, s.naming.ProductApplication(p.Name)),
		Role:            standing(p.Entra.Role, s.naming.Role(p.Name)),
	}
}

func (s *Service) wantedApplication(l *look, a *ClientApplication) (WantedApplication, error) {
	if a.Deleted {
		return WantedApplication{ID: a.ID, Absent: true}, nil
	}
	owner, err := l.user(a.OwnerID)
	if ignoreNotFound(err) != nil {
		return WantedApplication{}, err
	}
	var first string
	if len(a.Products) > 0 {
		p, err := l.product(a.Products[0])
		if ignoreNotFound(err) != nil {
			return WantedApplication{}, err
		}
		first = p.Name
	}
	return WantedApplication{
		ID: a.ID, Name: a.Name, OwnerID: a.OwnerID, Description: a.Description, Adopt: a.Adopt,
		ApplicationName: standing(a.Entra.Name, s.naming.Application(first)),
		Products:        slices.Clone(a.Products),
		Disabled:        a.State == ApplicationSuspended || owner.State != UserActive,
	}, nil
}

// standing prefers the name that stands in Entra: names there do not change
// when a setting does.
func standing(recorded, made string) string {
	if recorded != "" {
		return recorded
	}
	return made
}

func shorten(s string, maximum int) string {
	if len(s) <= maximum {
		return s
	}
	return strings.ToValidUTF8(s[:maximum], "") + "…"
}
