package appaccess

import "context"

// AdoptChanges says which properties are changed when an application in Entra is
// adopted, although its present callers may rely on them. The zero value changes none of
// them. [Service.PlanAccess] shows all changes of an adoption.
type AdoptChanges struct {
	// Rename gives the application the display name and the description of the product
	// or client application.
	Rename bool `json:"rename,omitempty"`
	// TokenVersion2 makes Entra issue version 2 tokens for a product. Version 1
	// tokens have another issuer and another audience; a gate whose authority is not
	// Microsoft's accepts them only if its Config.STS is set.
	TokenVersion2 bool `json:"tokenVersion2,omitempty"`
}

// PlanAccess returns what [Service.SetAccess] with this request would change in Entra,
// including what the adoption of an application changes for its present callers. It
// writes nothing. Only managers may call it.
func (s *Service) PlanAccess(ctx context.Context, by Actor, id string, req AccessRequest) (Plan, error) {
	adopt, err := checkAdopt(req.Adopt)
	if err != nil {
		return Plan{}, err
	}
	var p Product
	err = s.view(ctx, by, func(l *look) error {
		if err := l.onlyManager(); err != nil {
			return err
		}
		p, err = l.product(id)
		return err
	})
	if err != nil {
		return Plan{}, err
	}
	if !p.Access.Token && req.Access.Token {
		p.Adopt, p.AdoptChanges = adopt, req.AdoptChanges
	}
	p.Access = req.Access
	return s.planProposed(ctx, Objects{Products: []string{id}}, proposed{desiredState{s}, &p, nil})
}

// PlanProduct returns what [Service.CreateProduct] with this request would change in
// Entra. It writes nothing. Only managers may call it.
func (s *Service) PlanProduct(ctx context.Context, by Actor, req ProductRequest) (Plan, error) {
	p, err := s.newProduct(req)
	if err != nil {
		return Plan{}, err
	}
	if err := s.view(ctx, by, (*look).onlyManager); err != nil {
		return Plan{}, err
	}
	return s.planProposed(ctx, Objects{Products: []string{p.ID}}, proposed{desiredState{s}, &p, nil})
}

// PlanApplication returns what [Service.RegisterApplication] with this request would
// change in Entra. It writes nothing. Only managers may call it.
func (s *Service) PlanApplication(ctx context.Context, by Actor, req ApplicationRequest) (Plan, error) {
	a, err := req.application()
	if err != nil {
		return Plan{}, err
	}
	if err := s.view(ctx, by, (*look).onlyManager); err != nil {
		return Plan{}, err
	}
	return s.planProposed(ctx, Objects{Applications: []string{a.ID}}, proposed{desiredState{s}, nil, &a})
}

func (s *Service) planProposed(ctx context.Context, objects Objects, desired DesiredState) (Plan, error) {
	if s.entra == nil {
		return Plan{}, errNoEntra()
	}
	plan, err := s.entra.Plan(ctx, objects, desired)
	if err != nil {
		err = &ProvisionError{Object: "plan", Err: err}
	}
	return plan, err
}

// proposed is the stored desired state, in which one object is replaced by the object
// that a request describes.
type proposed struct {
	desiredState
	product     *Product
	application *ClientApplication
}

func (d proposed) Product(r Reader, id string) (DesiredProduct, error) {
	if d.product == nil || d.product.ID != id {
		return d.desiredState.Product(r, id)
	}
	return d.s.desiredProduct(d.product), nil
}

func (d proposed) Application(r Reader, id string) (DesiredApplication, error) {
	if d.application == nil || d.application.ID != id {
		return d.desiredState.Application(r, id)
	}
	return d.s.desiredApplication(&look{Reader: r}, d.application)
}
