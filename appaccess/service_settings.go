package appaccess

import "context"

// ApplicationSettings is what a developer needs to get tokens with one of their
// applications.
type ApplicationSettings struct {
	Application ClientApplication `json:"application"`
	ClientID    string            `json:"clientId"` // empty while Entra does not have it
	TenantID    string            `json:"tenantId"`
	TokenURL    string            `json:"tokenUrl"` // the version 2 token endpoint
	Products    []ProductSettings `json:"products"`
	Credentials []Credential      `json:"credentials"` // metadata: values are never kept
	Handovers   []Handover        `json:"handovers"`   // secrets that wait to be received
}

// ProductSettings is what a token request for one product needs.
type ProductSettings struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Audience  string   `json:"audience"` // the product's application ID
	Scope     string   `json:"scope"`    // api://<application ID>/.default
	Role      string   `json:"role"`
	Suspended bool     `json:"suspended,omitempty"`
	Paths     []string `json:"paths"` // of its APIs
}

// ApplicationSettings reads everything that the owner of an application needs.
func (s *Service) ApplicationSettings(ctx context.Context, by Actor, id string) (ApplicationSettings, error) {
	set := ApplicationSettings{}
	err := s.view(ctx, by, func(l *look) (err error) {
		set = ApplicationSettings{TenantID: s.tenantID, TokenURL: s.tokenURL}
		if set.Application, err = l.application(id); err != nil {
			return err
		}
		set.ClientID = set.Application.Entra.AppID
		for _, product := range set.Application.Products {
			p, err := l.productSettings(product)
			if err != nil {
				return err
			}
			set.Products = append(set.Products, p)
		}
		if set.Credentials, err = l.credentials(id); err != nil {
			return err
		}
		set.Handovers, err = l.handovers(id, s.clock())
		return err
	})
	set.Application = shownApplication(by, set.Application)
	return orZero(set, err)
}

func (l *look) productSettings(id string) (ProductSettings, error) {
	p, err := l.product(id)
	if err != nil {
		return ProductSettings{}, err
	}
	set := ProductSettings{ID: p.ID, Name: p.Name, Audience: p.Entra.Audience(), Scope: p.Entra.Scope(), Role: p.Entra.Role, Suspended: p.Suspended}
	for _, apiID := range p.APIs {
		a, err := l.api(apiID)
		if err != nil {
			return ProductSettings{}, err
		}
		set.Paths = append(set.Paths, a.Path)
	}
	return set, nil
}
