package apim

import (
	"fmt"
	"slices"
	"strings"
)

// planPolicies reports each policy statement of each scope, because entragate
// runs none of them.
func (p *Plan) planPolicies() {
	if why, missing := p.instance.Missing[KindPolicy]; missing {
		p.find(Opens, "policies-unread", "policies", "policies could not be read ("+why+")",
			"no policy is carried: what they check today is not checked", "read the policies and decide on each check that they make")
		return
	}
	for _, policy := range p.instance.Policies {
		p.planPolicy(policy)
	}
}

func (p *Plan) planPolicy(policy Policy) {
	where := policy.Scope
	if where == "" {
		where = "policy of all APIs"
	}
	if parts := strings.SplitN(where, "/", 3); len(parts) > 1 && p.leftOut(parts[0]+"/"+parts[1]) {
		return
	}
	root, err := parsePolicy(policy.XML)
	if err != nil {
		p.find(Opens, "policy-unreadable", where, "has a policy that cannot be read: "+err.Error(), "is not carried", "read it and decide")
		return
	}
	for _, section := range root.sections() {
		if section.name == "inbound" && policy.Scope != "" && !section.has("base") {
			p.find(Info, "policy-base", where, "has a policy without <base/>: policies of outer scopes do not run for it",
				"findings of outer scopes do not apply here", "nothing")
		}
		for _, statement := range section.children {
			p.statement(policy.Scope, where, section.name, statement, 0)
		}
	}
}

// statement reports one policy statement, and those inside it.
func (p *Plan) statement(scope, where, section string, n *node, depth int) {
	if depth > maxPolicyDepth {
		return
	}
	switch n.name {
	case "base", "":
		return
	case "choose":
		p.choose(where, n)
		for _, branch := range n.children {
			for _, child := range branch.children {
				if child.name != "return-response" { // part of the decision that choose reports
					p.statement(scope, where, section, child, depth+1)
				}
			}
		}
		return
	case "include-fragment":
		p.fragment(scope, where, section, n, depth)
		return
	}
	if p.ownCheck(scope, n) {
		p.find(Info, n.name, where, "tokens are checked for the product's audience and role", "the gate makes the same check", "nothing")
		return
	}
	rule, known := statements[n.name]
	if !known {
		p.find(Opens, n.name, where, "runs the policy statement "+n.name+" ("+section+"), which cannot be judged",
			"it does not run", "read it and decide")
		return
	}
	f := p.find(rule.severity, n.name, where, rule.today, rule.then, rule.do)
	if d := p.details(n); d != "" && !strings.Contains(f.Today, d) {
		f.Today += d
	}
	if n.expression() && f.Severity != Info {
		f.Severity = Opens
		if unclear := "; it holds an expression, which cannot be judged"; !strings.Contains(f.Today, unclear) {
			f.Today += unclear
		}
	}
}

// fragment looks into a policy fragment.
func (p *Plan) fragment(scope, where, section string, n *node, depth int) {
	id := n.attrs["fragment-id"]
	f := lookup(p.instance.Fragments, id, func(f *Policy) string { return f.Scope })
	if f == nil {
		p.find(Opens, "include-fragment", where, "includes the policy fragment "+id+", which is not in the source", "it does not run", "read it and decide")
		return
	}
	root, err := parsePolicy(f.XML)
	if err != nil {
		p.find(Opens, "policy-unreadable", where, "includes the policy fragment "+id+", which cannot be read: "+err.Error(), "it does not run", "read it and decide")
		return
	}
	for _, top := range root.children {
		for _, statement := range top.children {
			p.statement(scope, where, section, statement, depth+1)
		}
	}
}

// choose reports a decision by an expression.
func (p *Plan) choose(where string, n *node) {
	var about []string
	for _, branch := range n.children {
		for word, kind := range map[string]string{"context.User": "the user or a group", "context.Subscription": "the subscription", "context.Product": "the product"} {
			if strings.Contains(branch.attrs["condition"], word) && !slices.Contains(about, kind) {
				about = append(about, kind)
			}
		}
	}
	slices.Sort(about)
	today := "decides by an expression, which cannot be judged"
	if len(about) > 0 {
		today = "decides by " + strings.Join(about, " and ")
	}
	p.find(Opens, "choose", where, today, "the decision is not made", "make a product of its own for these callers, or decide in the service")
}

// ownCheck reports whether a token check is the one that a gate makes for the
// product.
func (p *Plan) ownCheck(scope string, n *node) bool {
	id, ok := strings.CutPrefix(scope, "products/")
	if !ok || n.name != "validate-azure-ad-token" {
		return false
	}
	v := p.instance.product(id)
	if v == nil || !v.token() || v.ApplicationID == "" {
		return false
	}
	audiences, roles := []string{}, 0
	for _, c := range n.children {
		switch c.name {
		case "audiences":
			for _, a := range c.children {
				audiences = append(audiences, strings.TrimPrefix(p.named(a.text), "api://"))
			}
		case "required-claims":
			for _, claim := range c.children {
				if claim.attrs["name"] != "roles" {
					return false
				}
				roles++
			}
		case "client-application-ids":
			return false // narrower than the product's role
		}
	}
	return roles == 1 && len(audiences) > 0 && !slices.ContainsFunc(audiences, func(a string) bool { return !strings.EqualFold(a, v.ApplicationID) })
}

// details names what a statement checks or changes.
func (p *Plan) details(n *node) string {
	var parts []string
	for _, name := range []string{"name", "tenant-id", "action", "calls", "renewal-period", "base-url", "template", "header-name"} {
		if v, ok := n.attrs[name]; ok && !strings.Contains(v, "@(") {
			parts = append(parts, name+" "+plainText(p.named(v), 100))
		}
	}
	for _, c := range n.children {
		switch c.name {
		case "address", "address-range", "audiences", "allowed-origins":
			parts = append(parts, c.name+" "+plainText(p.named(c.words()), 200))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "; " + strings.Join(parts, ", ")
}

// named replaces named values that are not secret.
func (p *Plan) named(text string) string {
	for name, value := range p.instance.NamedValues {
		if value != "" {
			text = strings.ReplaceAll(text, "{{"+name+"}}", value)
		}
	}
	return text
}

// statementRule says what leaving a policy statement out means.
type statementRule struct {
	severity        Severity
	today, then, do string
}

// rulesFor gives several statements one rule.
func rulesFor(rule statementRule, names ...string) map[string]statementRule {
	rules := map[string]statementRule{}
	for _, name := range names {
		rules[name] = rule
	}
	return rules
}

// statements are the policy statements that are known.
var statements = merge(
	rulesFor(statementRule{Opens, "tokens are checked", "a gate checks audience and role of the API's products only", "use a product with token access, or keep the check in the service"},
		"validate-azure-ad-token", "validate-jwt"),
	rulesFor(statementRule{Opens, "callers are filtered by address", "every address may call", "filter in the firewall or in the service"}, "ip-filter"),
	rulesFor(statementRule{Opens, "calls need a further proof", "it is not asked for", "check it in the service"},
		"check-header", "validate-client-certificate", "authentication-basic-inbound"),
	rulesFor(statementRule{Opens, "calls are limited", "the limit ends", "put a limiter in front"},
		"rate-limit", "rate-limit-by-key", "quota", "quota-by-key", "limit-concurrency", "llm-token-limit", "azure-openai-token-limit"),
	rulesFor(statementRule{Opens, "requests are checked against the schema", "they are not checked", "check them in the service"},
		"validate-content", "validate-parameters", "validate-headers", "validate-status-code", "validate-graphql-request", "validate-odata-request"),
	rulesFor(statementRule{Breaks, "API Management answers itself, without the backend", "the backend answers", "answer in the service"},
		"return-response", "mock-response"),
	rulesFor(statementRule{Breaks, "the backend gets another request than the caller sent", "the backend gets the caller's request", "change it in the service or in a gateway"},
		"rewrite-uri", "set-backend-service", "set-header", "set-query-parameter", "set-method", "set-body", "find-and-replace", "redirect-content-urls", "proxy"),
	rulesFor(statementRule{Info, "calls are sent to the backend", "calls are sent to the backend", "nothing"}, "forward-request"),
	rulesFor(statementRule{Breaks, "the backend expects a credential that API Management adds", "it is not added", "let the gateway or the network prove who calls"},
		"authentication-managed-identity", "authentication-certificate", "authentication-basic", "get-authorization-context", "send-request", "send-one-way-request"),
	rulesFor(statementRule{Breaks, "browsers of other origins may call", "browsers refuse the answers", "allow the origins in the service or in the gateway"}, "cors", "jsonp", "cross-domain"),
	rulesFor(statementRule{Breaks, "answers are cached or changed", "the backend's answers are sent as they are", "do it in the service"},
		"cache-lookup", "cache-store", "cache-lookup-value", "cache-store-value", "cache-remove-value", "xml-to-json", "json-to-xml", "xsl-transform", "set-status"),
	rulesFor(statementRule{Info, "failed calls to the backend are repeated", "they are not repeated", "nothing, or repeat in a gateway"}, "retry", "wait"),
	rulesFor(statementRule{Info, "calls are logged or measured", "the gate logs and measures in its own way", "use the gate's metrics and log"},
		"log-to-eventhub", "trace", "emit-metric", "llm-emit-token-metric", "azure-openai-emit-token-metric"),
	rulesFor(statementRule{Info, "a variable is set", "it is not needed", "nothing"}, "set-variable"),
)

func merge(rules ...map[string]statementRule) map[string]statementRule {
	all := map[string]statementRule{}
	for _, r := range rules {
		for name, rule := range r {
			all[name] = rule
		}
	}
	return all
}

// planRest reports objects that are counted and not imported.
func (p *Plan) planRest() {
	in := p.instance
	for kind, why := range in.Missing {
		p.find(Info, "not-read", string(kind), "could not be read ("+why+")", "nothing of this kind is imported or changed", "read the instance itself if it has any")
	}
	for _, name := range in.Ignored {
		p.find(Info, "file-ignored", name, "holds no object of an instance that is understood", "is not imported", "nothing, if that is so")
	}
	for _, c := range counted {
		if names := in.Counted[c.kind]; len(names) > 0 {
			p.find(c.severity, "not-carried", c.kind, fmt.Sprintf("has %d: %s", len(names), list(names)), c.then, c.do)
		}
	}
}

var counted = []struct {
	kind     string
	severity Severity
	then, do string
}{
	{"gateways", Breaks, "self-hosted gateways are not carried", "put a gate in front of the services that they reach"},
	{"workspaces", Breaks, "workspaces are not imported", "import their products and subscriptions by hand"},
	{"workspaces/subscriptions", Breaks, "the keys of workspaces are not imported: their callers are refused", "make subscriptions for them"},
	{"groups", Info, "there are no groups", "make products of their own where a group had access alone"},
	{"authorizationservers", Info, "only the portal's console used them", "nothing"},
	{"openidconnectproviders", Info, "only the portal's console used them", "nothing"},
	{"authorizationproviders", Breaks, "the credential manager is not carried", "let the service get its own tokens"},
	{"backends", Info, "an API's serviceUrl is its backend", "check APIs whose policy chose a backend"},
	{"loggers", Info, "the gate has its own log and metrics", "nothing"},
	{"certificates", Info, "certificates are not carried", "nothing, unless a policy used one"},
}

// list names at most ten.
func list(names []string) string {
	slices.Sort(names)
	if len(names) > 10 {
		return strings.Join(names[:10], ", ") + " and more"
	}
	return strings.Join(names, ", ")
}
