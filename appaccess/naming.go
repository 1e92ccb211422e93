package appaccess

import (
	"fmt"
	"strings"
	"unicode/utf16"
)

// Naming gives the names that objects have in Entra, from a product's name.
// What it returns is checked against Entra's rules by [Service], and two
// products never get the same application name or role value: the second one
// is refused. Its methods must be pure: the same answer for the same name, from
// many goroutines at once.
type Naming interface {
	// ProductApplication is the display name of a product's application.
	ProductApplication(product string) string
	// Role is the value of its app role, as tokens carry it.
	Role(product string) string
	// Application is the display name of a client application, from the name
	// of the first product that it was granted.
	Application(product string) string
}

// DefaultNaming names as API Management does: APIMProductApplication<name>,
// Product.<name>.All and APIMApplication<name>.
//
// A role value holds no spaces, so each space of the name becomes a hyphen
// there: product "Gold Plan" has the role Product.Gold-Plan.All, and a second
// product "Gold-Plan" is refused. Nothing else is mapped: a name with a
// character that a role value cannot carry is refused when the product gets
// token access.
type DefaultNaming struct{}

// ProductApplication implements [Naming].
func (DefaultNaming) ProductApplication(product string) string {
	return "APIMProductApplication" + product
}

// Role implements [Naming].
func (DefaultNaming) Role(product string) string {
	return "Product." + strings.ReplaceAll(product, " ", "-") + ".All"
}

// Application implements [Naming].
func (DefaultNaming) Application(product string) string { return "APIMApplication" + product }

// Entra's limits, in UTF-16 units as Graph counts them.
const (
	maxDisplayName = 120
	maxRole        = 120
	maxProducts    = 50 // resources in an application's requiredResourceAccess
)

// rolePunctuation is what a role value may hold besides letters and digits of
// ASCII: https://learn.microsoft.com/graph/api/resources/approle.
const rolePunctuation = ":!#$%&'()*+,-./;<=>?@[]^_`{|}~"

// checkEntraNames refuses a product name that Entra cannot carry.
func checkEntraNames(n Naming, product string) error {
	for _, name := range []string{n.ProductApplication(product), n.Application(product)} {
		if l := utf16Len(name); l == 0 || l > maxDisplayName {
			return &InvalidError{"name", fmt.Sprintf("with token access the product's name must leave its names in Entra 1 to %d characters: %q has %d", maxDisplayName, name, l)}
		}
	}
	return checkRole(n.Role(product))
}

func checkRole(role string) error {
	if role == "" || len(role) > maxRole {
		return &InvalidError{"name", fmt.Sprintf("with token access the product's name must leave its role value 1 to %d characters: %q has %d", maxRole, role, len(role))}
	}
	if role[0] == '.' {
		return &InvalidError{"name", "a role value must not begin with a full stop"}
	}
	for _, r := range role {
		if !isRoleChar(r) {
			return &InvalidError{"name", fmt.Sprintf("with token access a product's name may hold ASCII letters, digits, spaces and %s: %q is none of them", rolePunctuation, r)}
		}
	}
	return nil
}

func isRoleChar(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(rolePunctuation, r)
}

func utf16Len(s string) int { return len(utf16.Encode([]rune(s))) }
