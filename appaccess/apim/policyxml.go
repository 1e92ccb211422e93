package apim

import (
	"errors"
	"html"
	"strings"
)

const (
	maxPolicyDepth = 64
	maxPolicyNodes = 20_000
)

// node is an element of a policy document.
type node struct {
	name     string
	attrs    map[string]string
	text     string
	children []*node
}

// sections are the parts of a policy document, from inbound to on-error.
func (n *node) sections() []*node {
	for _, c := range n.children {
		if c.name == "policies" {
			return c.children
		}
	}
	return n.children
}

func (n *node) has(name string) bool {
	for _, c := range n.children {
		if c.name == name {
			return true
		}
	}
	return false
}

// expression reports whether an attribute or text is computed in C#.
func (n *node) expression() bool {
	if strings.Contains(n.text, "@(") || strings.Contains(n.text, "@{") {
		return true
	}
	for _, v := range n.attrs {
		if strings.HasPrefix(v, "@(") || strings.HasPrefix(v, "@{") {
			return true
		}
	}
	for _, c := range n.children {
		if c.expression() {
			return true
		}
	}
	return false
}

// words are the texts and attributes below a node.
func (n *node) words() string {
	words := []string{strings.TrimSpace(n.text)}
	for _, name := range []string{"from", "to"} {
		if v := n.attrs[name]; v != "" {
			words = append(words, v)
		}
	}
	for _, c := range n.children {
		words = append(words, c.words())
	}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}

// parsePolicy reads a policy document. It is not strict XML, and so not the
// work of encoding/xml: in the form "rawxml" an expression such as
// @(context.User.Groups.Any(g => g.Name == "x")) is unescaped inside the quotes of an
// attribute.
func parsePolicy(text string) (*node, error) {
	s := &scanner{text: text}
	root := &node{}
	if err := s.content(root, 0); err != nil {
		return nil, err
	}
	if len(root.children) == 0 {
		return nil, errors.New("holds no element")
	}
	return root, nil
}

type scanner struct {
	text  string
	at    int
	nodes int
}

var errPolicy = errors.New("is not a policy document")

func (s *scanner) rest() string { return s.text[s.at:] }

// content reads up to the end tag of a node, which it consumes.
func (s *scanner) content(n *node, depth int) error {
	if depth > maxPolicyDepth || s.nodes > maxPolicyNodes {
		return errors.New("is nested too deep or too large")
	}
	for {
		rest := s.rest()
		switch {
		case rest == "":
			if depth > 0 {
				return errPolicy
			}
			return nil
		case strings.HasPrefix(rest, "<!--"):
			if !s.skipPast("-->") {
				return errPolicy
			}
		case strings.HasPrefix(rest, "<![CDATA["):
			from := s.at + len("<![CDATA[")
			if !s.skipPast("]]>") {
				return errPolicy
			}
			n.text += s.text[from : s.at-len("]]>")]
		case strings.HasPrefix(rest, "<?"), strings.HasPrefix(rest, "<!"):
			if !s.skipPast(">") {
				return errPolicy
			}
		case strings.HasPrefix(rest, "</"):
			if !s.skipPast(">") || depth == 0 {
				return errPolicy
			}
			return nil
		case rest[0] == '<':
			if err := s.element(n, depth); err != nil {
				return err
			}
		case strings.HasPrefix(rest, "@(") || strings.HasPrefix(rest, "@{"):
			from := s.at
			if !s.skipExpression() {
				return errPolicy
			}
			n.text += s.text[from:s.at]
		default:
			end := 1 + strings.IndexAny(rest[1:], "<@")
			if end == 0 {
				end = len(rest)
			}
			n.text += html.UnescapeString(rest[:end])
			s.at += end
		}
	}
}

func (s *scanner) skipPast(mark string) bool {
	i := strings.Index(s.rest(), mark)
	if i < 0 {
		return false
	}
	s.at += i + len(mark)
	return true
}

func (s *scanner) element(parent *node, depth int) error {
	s.at++
	n := &node{name: s.word(), attrs: map[string]string{}}
	s.nodes++
	if n.name == "" {
		return errPolicy
	}
	for {
		s.blanks()
		switch rest := s.rest(); {
		case rest == "":
			return errPolicy
		case strings.HasPrefix(rest, "/>"):
			s.at += 2
			parent.children = append(parent.children, n)
			return nil
		case rest[0] == '>':
			s.at++
			parent.children = append(parent.children, n)
			return s.content(n, depth+1)
		}
		if err := s.attribute(n); err != nil {
			return err
		}
	}
}

func (s *scanner) attribute(n *node) error {
	name := s.word()
	s.blanks()
	if name == "" || !strings.HasPrefix(s.rest(), "=") {
		return errPolicy
	}
	s.at++
	s.blanks()
	rest := s.rest()
	if rest == "" || rest[0] != '"' && rest[0] != '\'' {
		return errPolicy
	}
	quote := rest[:1]
	s.at++
	from := s.at
	if r := s.rest(); (strings.HasPrefix(r, "@(") || strings.HasPrefix(r, "@{")) && !s.skipExpression() {
		return errPolicy
	}
	if !s.skipPast(quote) {
		return errPolicy
	}
	n.attrs[name] = html.UnescapeString(s.text[from : s.at-1])
	return nil
}

// skipExpression skips @( ... ) or @{ ... } with the brackets and the string
// literals of C# inside it.
func (s *scanner) skipExpression() bool {
	s.at++
	depth := 0
	for s.at < len(s.text) {
		switch c := s.text[s.at]; c {
		case '(', '{', '[':
			depth++
		case ')', '}', ']':
			depth--
			if depth == 0 {
				s.at++
				return true
			}
		case '"', '\'':
			s.skipLiteral(c)
			continue
		}
		s.at++
	}
	return false
}

func (s *scanner) skipLiteral(quote byte) {
	s.at++
	for s.at < len(s.text) && s.text[s.at] != quote {
		if s.text[s.at] == '\\' {
			s.at++
		}
		s.at++
	}
	s.at = min(s.at+1, len(s.text))
}

func (s *scanner) word() string {
	from := s.at
	for s.at < len(s.text) && !strings.ContainsRune(" \t\r\n=/><\"'", rune(s.text[s.at])) {
		s.at++
	}
	return s.text[from:s.at]
}

func (s *scanner) blanks() {
	for s.at < len(s.text) && strings.ContainsRune(" \t\r\n", rune(s.text[s.at])) {
		s.at++
	}
}
