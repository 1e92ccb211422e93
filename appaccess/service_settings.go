package appaccess

import "context"

// ApplicationSettings is what a developer needs to get tokens with one of their
// applications.
type ApplicationSettings struct {
	Application    ClientApplication `json:"application"`
	ClientID       string            `json:"clientId"` // empty until the application exists in Entra
	TenantID       string            `json:"tenantId"`
	TokenURL       string            `json:"tokenUrl"` // the version 2 token endpoint
	Products       []ProductSettings `json:"products"`
	Credentials    []Credential      `json:"credentials"`    // without values, which are never stored
	OneTimeSecrets []OneTimeSecret   `json:"oneTimeSecrets"` // secrets that wait to be received
}

// ProductSettings is what a token request for one product needs.
type ProductSettings struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Audience  string   `json:"audience"` // the product's application ID
	Scope     string   `json:"scope"`    // api://<application ID>/.default
	Roles     []string `json:"roles"`    // values of the app roles that the application has
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
		for _, g := range set.Application.Grants {
			p, err := l.productSettings(g)
			if err != nil {
				return err
			}
			set.Products = append(set.Products, p)
		}
		if set.Credentials, err = l.credentials(id); err != nil {
			return err
		}
		set.OneTimeSecrets, err = l.waitingSecrets(id, s.clock())
		return err
	})
	set.Application = shownApplication(by, set.Application)
	return orZero(set, err)
}

func (l *look) productSettings(g Grant) (ProductSettings, error) {
	p, err := l.product(g.Product)
	if err != nil {
		return ProductSettings{}, err
	}
	set := ProductSettings{ID: p.ID, Name: p.Name, Audience: p.Entra.Audience(), Scope: p.Entra.Scope(), Suspended: p.Suspended}
	for _, name := range g.Permissions {
		if role := p.Entra.Role(name); role != "" {
			set.Roles = append(set.Roles, role)
		}
	}
	for _, apiID := range p.APIs {
		a, err := l.api(apiID)
		if err != nil {
			return ProductSettings{}, err
		}
		set.Paths = append(set.Paths, a.Path)
	}
	return set, nil
}
