package appaccess

import (
	"context"
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
