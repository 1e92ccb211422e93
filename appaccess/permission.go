package appaccess

import (
	"fmt"
	"slices"
	"strings"
)

// permissionNames returns the names of all permissions of the product,
// [AllPermission] first.
func (p *Product) permissionNames() []string {
	names := []string{AllPermission}
	for _, q := range p.Permissions {
		names = append(names, q.Name)
	}
	return names
}

// Grant is a product that a client application is granted, with the permissions
// that it has there.
type Grant struct {
	Product string `json:"product"` // product ID
	// Permissions are names of the product's permissions, sorted, at least one.
	// [AllPermission] includes the others.
	Permissions []string `json:"permissions"`
}

// Grants are the products that a client application is granted, each once.
type Grants []Grant

// GrantsOfAll grants products with [AllPermission].
func GrantsOfAll(productIDs ...string) Grants {
	var grants Grants
	for _, id := range productIDs {
		grants = append(grants, Grant{Product: id, Permissions: []string{AllPermission}})
	}
	return grants
}

// Products returns the IDs of the products.
func (g Grants) Products() []string { return ids(g, func(g *Grant) string { return g.Product }) }

// Has reports whether a product is granted with any permission.
func (g Grants) Has(productID string) bool { return g.of(productID) != nil }

// Of returns the granted permissions of a product; nil if the product is not granted.
func (g Grants) Of(productID string) []string {
	if one := g.of(productID); one != nil {
		return one.Permissions
	}
	return nil
}

// Permit reports whether a permission of a product is granted, itself or with
// [AllPermission].
func (g Grants) Permit(productID, permission string) bool {
	one := g.of(productID)
	return one != nil && (slices.Contains(one.Permissions, permission) || slices.Contains(one.Permissions, AllPermission))
}

// of returns the grant of a product; nil if the product is not granted.
func (g Grants) of(productID string) *Grant {
	i := slices.IndexFunc(g, func(g Grant) bool { return g.Product == productID })
	if i < 0 {
		return nil
	}
	return &g[i]
}

// String returns the grants as text: starter(All) orders(Read,Write).
func (g Grants) String() string {
	words := make([]string, len(g))
	for i, one := range g {
		words[i] = one.Product + "(" + strings.Join(one.Permissions, ",") + ")"
	}
	return strings.Join(words, " ")
}

func (g Grants) equal(other Grants) bool { return slices.EqualFunc(g, other, Grant.equal) }

func (g Grant) equal(other Grant) bool {
	return g.Product == other.Product && slices.Equal(g.Permissions, other.Permissions)
}

// Role is the app role of a permission.
type Role struct {
	Permission string `json:"permission"`
	Value      string `json:"value"`        // as tokens carry it: Product.<product-name>.<permission>
	ID         string `json:"id,omitempty"` // in Entra
}

// Role returns the value of a permission's app role. The result is empty if Entra does
// not have the role.
func (a ProductApplication) Role(permission string) string {
	for _, r := range a.Roles {
		if r.Permission == permission {
			return r.Value
		}
	}
	return ""
}

// Equal reports whether two applications are equal in every field.
func (a ProductApplication) Equal(b ProductApplication) bool {
	return slices.Equal(a.Roles, b.Roles) && a.Name == b.Name && a.ObjectID == b.ObjectID && a.AppID == b.AppID &&
		a.ServicePrincipalID == b.ServicePrincipalID && a.IdentifierURI == b.IdentifierURI
}

const (
	maxPermissions = 100 // of a product, beside AllPermission
	maxGranted     = 500 // permissions of an application: each is an index entry
)

// checkPermissions refuses permissions that a product cannot have.
func checkPermissions(list []Permission) error {
	if len(list) > maxPermissions {
		return &InvalidError{"permissions", fmt.Sprintf("a product has at most %d permissions beside %s", maxPermissions, AllPermission)}
	}
	seen := map[string]bool{}
	for _, p := range list {
		if err := checkPermissionName("permissions", p.Name); err != nil {
			return err
		}
		if seen[fold(p.Name)] {
			return &InvalidError{"permissions", fmt.Sprintf("%q is there twice: names must differ in more than case", p.Name)}
		}
		seen[fold(p.Name)] = true
		if err := checkText("permissions", p.Description, 0, maxDescription); err != nil {
			return err
		}
	}
	return nil
}

// checkGrants checks grants without the store. It returns them as they are stored:
// permissions sorted, each once, and no other permission beside AllPermission.
func checkGrants(grants Grants, minimum int) (Grants, error) {
	if err := checkIDs("grants", grants.Products(), minimum, maxProducts); err != nil {
		return nil, err
	}
	stored := make(Grants, len(grants))
	for i, g := range grants {
		if len(g.Permissions) == 0 {
			return nil, &InvalidError{"grants", fmt.Sprintf("the grant of product %s must name a permission: %s for everything", g.Product, AllPermission)}
		}
		for _, name := range g.Permissions {
			if name == AllPermission {
				continue
			}
			if err := checkPermissionName("grants", name); err != nil {
				return nil, err
			}
		}
		names := slices.Compact(slices.Sorted(slices.Values(g.Permissions)))
		if slices.Contains(names, AllPermission) {
			names = []string{AllPermission}
		}
		stored[i] = Grant{Product: g.Product, Permissions: names}
	}
	return stored, stored.few()
}

// few refuses more permissions than an application may have.
func (g Grants) few() error {
	n := 0
	for _, one := range g {
		n += len(one.Permissions)
	}
	if n > maxGranted {
		return &InvalidError{"grants", fmt.Sprintf("an application is granted at most %d permissions in all, not %d: grant %s of a product instead of many", maxGranted, n, AllPermission)}
	}
	return nil
}
