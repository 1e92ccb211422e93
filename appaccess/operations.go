package appaccess

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Operation is one method of one path template of an [API].
//
// A caller with all permissions of one list of AnyOf, for one product of the API, may
// call the operation. So may a caller with the product's own role (All). An operation
// without AnyOf needs the product's own role.
type Operation struct {
	ID      string   `json:"id"`     // unique in the API; made from the operationId, or from method and path
	Method  string   `json:"method"` // compared byte for byte: GET
	Path    string   `json:"path"`   // template below the API's path: /orders/{id}
	Summary string   `json:"summary,omitempty"`
	Tags    []string `json:"tags,omitempty"`

	AnyOf [][]string `json:"anyOf,omitempty"` // names of permissions: OR of ANDs
	// Set says that a manager set AnyOf: an import then keeps AnyOf, and Declared is
	// what the document says.
	Set      bool       `json:"set,omitempty"`
	Declared [][]string `json:"declared,omitempty"`
	// ByHand says that a manager listed the operation; an import keeps it.
	ByHand bool `json:"byHand,omitempty"`
	// Gone says that the document no longer has the operation. A gate then refuses
	// the operation. If the operation were removed instead, another operation's
	// template could match its requests and need fewer permissions.
	Gone bool `json:"gone,omitempty"`
	// Unenforceable says why a gate cannot enforce the operation; empty if it can.
	// The API's operations can then only be shown.
	Unenforceable string `json:"unenforceable,omitempty"`
}

// String returns method and path.
func (o *Operation) String() string { return o.Method + " " + o.Path }

// Enforcement says what a gate does with the operations of an API.
type Enforcement string

// The values of an [API]'s Enforcement.
const (
	// ShowOperations: operations are documentation. Every caller of a product
	// reaches the whole API.
	ShowOperations Enforcement = ""
	// ReportOperations: a gate records requests that it would refuse. They pass with
	// the product's own role.
	ReportOperations Enforcement = "report"
	// EnforceOperations: a gate refuses a request that matches no operation (404),
	// and a caller without the permissions of the operation (403).
	EnforceOperations Enforcement = "enforce"
)

// The limits of operations.
const (
	maxOperations   = 2000 // of an API
	maxAlternatives = 32
	maxTogether     = 16 // permissions of one alternative
	maxPermission   = 60 // characters of a permission's name
	maxOperationID  = 76 // as API Management, with room for -999
)

// AllPermission is the reserved name of the permission of a product's own role. It is
// in no list of permissions.
const AllPermission = "All"

func checkPermissionName(field, name string) error {
	ok := name != "" && len(name) <= maxPermission && name[0] != '.' && !strings.ContainsFunc(name, func(r rune) bool { return !isRoleChar(r) })
	switch {
	case !ok:
		return &InvalidError{field, fmt.Sprintf("a permission must have 1 to %d ASCII letters, digits or %s, and not begin with a full stop: %.80q", maxPermission, rolePunctuation, name)}
	case strings.EqualFold(name, AllPermission):
		return &InvalidError{field, "All is the product's own role and passes every operation: it cannot be a permission"}
	}
	return nil
}

// checkAnyOf checks and sorts the alternatives.
func checkAnyOf(field string, anyOf [][]string) ([][]string, error) {
	var out [][]string
	for _, together := range anyOf {
		if len(together) == 0 || len(together) > maxTogether {
			return nil, &InvalidError{field, fmt.Sprintf("each alternative must name 1 to %d permissions", maxTogether)}
		}
		for _, name := range together {
			if err := checkPermissionName(field, name); err != nil {
				return nil, err
			}
		}
		out = append(out, slices.Compact(slices.Sorted(slices.Values(together))))
	}
	slices.SortFunc(out, slices.Compare)
	out = slices.CompactFunc(out, slices.Equal)
	if len(out) > maxAlternatives {
		return nil, &InvalidError{field, fmt.Sprintf("must have at most %d alternatives", maxAlternatives)}
	}
	return out, nil
}

func sameAnyOf(a, b [][]string) bool { return slices.EqualFunc(a, b, slices.Equal) }

// widens reports whether a change of AnyOf lets a caller without the product's own
// role pass who did not pass before.
func widens(before, after [][]string) bool {
	return slices.ContainsFunc(after, func(a []string) bool {
		return !slices.ContainsFunc(before, func(b []string) bool {
			return !slices.ContainsFunc(b, func(name string) bool { return !slices.Contains(a, name) })
		})
	})
}

// CheckOperations refuses operations that a gate and the API's own router could
// choose differently. The error is an [*InvalidError] that names them.
//
// It refuses operations that are marked as unenforceable; paths with escapes,
// parameters (;), empty or dot segments, or a template that is not a whole segment;
// two paths that differ only in the names of templates; and two operations that match
// the same requests but need different permissions, if neither is more specific
// (/{a}/me and /books/{b}) or if their literals differ only in case.
func CheckOperations(operations []Operation) error {
	if len(operations) > maxOperations {
		return &InvalidError{"operations", fmt.Sprintf("an API has at most %d", maxOperations)}
	}
	bySize := map[int][]shape{}
	for i := range operations {
		o := &operations[i]
		if o.Unenforceable != "" {
			return &InvalidError{"operations", fmt.Sprintf("%s cannot be enforced: %s", o, o.Unenforceable)}
		}
		if !isToken(o.Method) {
			return &InvalidError{"operations", fmt.Sprintf("%.40q must be an HTTP method such as GET", o.Method)}
		}
		if err := checkTemplate(o.Path); err != nil {
			return err
		}
		s := shape{o, strings.Split(o.Path[1:], "/")}
		for _, other := range bySize[len(s.segments)] {
			if err := s.distinct(other); err != nil {
				return err
			}
		}
		bySize[len(s.segments)] = append(bySize[len(s.segments)], s)
	}
	return nil
}

type shape struct {
	*Operation
	segments []string
}

// distinct refuses two operations if a request could be for either.
func (s shape) distinct(other shape) error {
	sMore, otherMore := false, false
	switch {
	case s.Method == other.Method:
	case s.Method == "HEAD" && other.Method == "GET": // routers answer HEAD by GET
		sMore = true
	case s.Method == "GET" && other.Method == "HEAD":
		otherMore = true
	default:
		return nil
	}
	for i, a := range s.segments {
		b := other.segments[i]
		switch at, bt := isTemplate(a), isTemplate(b); {
		case at && bt || a == b:
		case at:
			otherMore = true
		case bt:
			sMore = true
		case strings.EqualFold(a, b): // one route on a server that ignores case
			sMore, otherMore = true, true
		default:
			return nil
		}
	}
	switch {
	case !sMore && !otherMore:
		return &InvalidError{"operations", fmt.Sprintf("%s and %s are the same operation", other, s)}
	case sMore && otherMore && (s.Gone != other.Gone || !sameAnyOf(s.AnyOf, other.AnyOf)):
		return &InvalidError{"operations", fmt.Sprintf("%s and %s match the same requests, neither is more specific, and they need different permissions: let both need the same", other, s)}
	}
	return nil
}

func isTemplate(segment string) bool { return segment != "" && segment[0] == '{' }

// checkTemplate refuses a path that routers could read differently.
func checkTemplate(path string) error {
	bad := func(rule string) error { return &InvalidError{"operations", fmt.Sprintf("path %.100q %s", path, rule)} }
	if path == "/" {
		return nil
	}
	if path == "" || path[0] != '/' || len(path) > maxPath {
		return bad(fmt.Sprintf("must begin with a slash and have at most %d bytes", maxPath))
	}
	names := map[string]bool{}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			name, closed := strings.CutSuffix(name, "}")
			if !closed || name == "" || names[name] || strings.ContainsAny(name, "{}") {
				return bad("must have each template as a whole segment, {name}, with a name of its own")
			}
			names[name] = true
			continue
		}
		if segment == "" || segment == "." || segment == ".." {
			return bad("must not have empty segments, . or ..")
		}
		if strings.ContainsFunc(segment, func(r rune) bool { return !isPathChar(r) }) {
			return bad("must have only letters, digits and -._~!$&'()*+,=:@ in its segments, without escapes")
		}
	}
	return nil
}

func isPathChar(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~!$&'()*+,=:@", r)
}

// isToken reports whether a text is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	foreign := func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	}
	return s != "" && len(s) <= 40 && !strings.ContainsFunc(s, foreign)
}

// operationID returns the ID of an operation: the operationId in API Management's
// form or, without one, an ID derived from method and path. used are the IDs of other
// operations.
func operationID(given, method, path string, used map[string]bool) string {
	if given == "" {
		given = method + " " + path
	}
	words := strings.FieldsFunc(strings.ToLower(given), func(r rune) bool {
		return !('a' <= r && r <= 'z' || '0' <= r && r <= '9')
	})
	id := strings.Join(words, "-")
	if len(id) > maxOperationID {
		id = strings.TrimRight(id[:maxOperationID], "-")
	}
	if id == "" {
		id = "operation"
	}
	unique := id
	for n := 1; used[unique]; n++ {
		unique = fmt.Sprintf("%s-%d", id, n)
	}
	used[unique] = true
	return unique
}
