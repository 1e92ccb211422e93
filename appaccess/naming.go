package appaccess

import (
	"fmt"
	"strings"
	"unicode/utf16"
)

// Naming gives the names that objects have in Entra. [Service] checks the names
// against Entra's rules, and refuses a product if another product has its application
// name or a role value. The methods must always return the same answer for the same
// names, and be safe for concurrent use.
type Naming interface {
	// ProductApplication returns the display name of a product's application.
	ProductApplication(product string) string
	// Role returns the value of the app role of a product's permission
	// ([AllPermission] or another), as tokens carry it.
	Role(product, permission string) string
	// Application returns the display name of a client application, from its own name
	// and the name of the first product that it was granted. The product is empty if
	// it was granted none.
	Application(product, client string) string
}

// DefaultNaming names as API Management does: APIMProductApplication<name>,
// Product.<name>.<permission> and APIMApplication<name>. All clients of a
// product have the same display name; another Naming can add the client's.
//
// A role value has no spaces: each space of the name becomes a hyphen. Product "Gold
// Plan" has the role Product.Gold-Plan.All, and a second product "Gold-Plan" is
// refused. No other character is replaced: a product whose name has a character that
// a role value cannot have is refused token access.
type DefaultNaming struct{}

// ProductApplication implements [Naming].
func (DefaultNaming) ProductApplication(product string) string {
	return "APIMProductApplication" + product
}

// Role implements [Naming].
func (DefaultNaming) Role(product, permission string) string {
	return "Product." + strings.ReplaceAll(product, " ", "-") + "." + permission
}

// Application implements [Naming].
func (DefaultNaming) Application(product, _ string) string { return "APIMApplication" + product }

// Entra's limits, in UTF-16 units as Graph counts them.
const (
	maxDisplayName = 120
	maxRole        = 120
	maxProducts    = 50 // resources in an application's requiredResourceAccess
)

// rolePunctuation contains the characters that Entra accepts in the value of an app role,
// in addition to ASCII letters and digits:
// https://learn.microsoft.com/graph/api/resources/approle
const rolePunctuation = ":!#$%&'()*+,-./;<=>?@[]^_`{|}~"

// sampleClient is used as the name of a client application that is not known yet.
const sampleClient = "x"

// checkEntraNames refuses a product whose names Entra cannot carry.
func checkEntraNames(n Naming, p *Product) error {
	for _, name := range []string{n.ProductApplication(p.Name), n.Application(p.Name, sampleClient)} {
		if l := utf16Len(name); l == 0 || l > maxDisplayName {
			return &InvalidError{"name", fmt.Sprintf("with token access the product's name must leave its names in Entra 1 to %d characters: %q has %d", maxDisplayName, name, l)}
		}
	}
	for _, permission := range p.permissionNames() {
		field := "name"
		if permission != AllPermission {
			field = "permissions"
		}
		if err := checkRole(field, n.Role(p.Name, permission)); err != nil {
			return err
		}
	}
	return nil
}

// checkRole refuses a role value that Entra cannot carry; field is the input
// that it was made from.
func checkRole(field, role string) error {
	if role == "" || len(role) > maxRole {
		return &InvalidError{field, fmt.Sprintf("with token access the names of the product and its permissions must leave a role value of 1 to %d characters: %q has %d", maxRole, role, len(role))}
	}
	if role[0] == '.' {
		return &InvalidError{field, "a role value must not begin with a full stop"}
	}
	for _, r := range role {
		if !isRoleChar(r) {
			return &InvalidError{field, fmt.Sprintf("with token access a product's name may have only ASCII letters, digits, spaces and %s, not %q", rolePunctuation, r)}
		}
	}
	return nil
}

func isRoleChar(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(rolePunctuation, r)
}

// checkClientName refuses a client application whose display name Entra cannot
// carry.
func checkClientName(n Naming, product, client string) error {
	name := n.Application(product, client)
	if l := utf16Len(name); l == 0 || l > maxDisplayName {
		return &InvalidError{"name", fmt.Sprintf("the names of the application and its first product must leave its name in Entra 1 to %d characters: %q has %d", maxDisplayName, name, l)}
	}
	return nil
}

func utf16Len(s string) int { return len(utf16.Encode([]rune(s))) }
