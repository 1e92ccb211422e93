package apim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// entities are the objects that a source showed, by their path below the
// service. Both sources fill it, and one reader turns it into an [Instance].
type entities struct {
	service json.RawMessage // the service itself, empty if unknown
	order   []string        // paths in the order in which they came
	byPath  map[string]*entity
}

// entity is one object of the ARM interface: {id, type, name, properties}.
type entity struct {
	path       []string // kind, name, kind, name, ...
	properties map[string]json.RawMessage
}

// kind is the path without names: products/apiLinks.
func (e *entity) kind() string {
	var kinds []string
	for i := 0; i < len(e.path); i += 2 {
		kinds = append(kinds, strings.ToLower(e.path[i]))
	}
	return strings.Join(kinds, "/")
}

// name is the object's own ID, parent the ID of the object that it belongs to.
func (e *entity) name() string { return e.path[len(e.path)-1] }
func (e *entity) parent() string {
	if len(e.path) < 4 {
		return ""
	}
	return e.path[len(e.path)-3]
}

func newEntities() *entities { return &entities{byPath: map[string]*entity{}} }

// add takes an object. One that came before, as it does from two versions of
// the interface, is completed: a member that is set wins over one that is
// missing or null.
func (s *entities) add(path []string, properties map[string]json.RawMessage) {
	key := strings.ToLower(strings.Join(path, "/"))
	e := s.byPath[key]
	if e == nil {
		e = &entity{path: path, properties: map[string]json.RawMessage{}}
		s.byPath[key] = e
		s.order = append(s.order, key)
	}
	for name, value := range properties {
		if old, set := e.properties[name]; !set || isNull(old) || !isNull(value) {
			e.properties[name] = value
		}
	}
}

func isNull(v json.RawMessage) bool { return len(v) == 0 || string(v) == "null" }

// envelope is the outer form of an object and of a list of them.
type envelope struct {
	ID         string                     `json:"id"`
	Name       string                     `json:"name"`
	Properties map[string]json.RawMessage `json:"properties"`
	Value      []json.RawMessage          `json:"value"`
	NextLink   string                     `json:"nextLink"`
}

// addJSON takes an object or a list of objects as ARM answers them, and returns
// the link to the next page. An answer of another form is left alone.
func (s *entities) addJSON(raw []byte) (next string, err error) {
	var env envelope
	if err := json.Unmarshal(raw, &env); err != nil {
		return "", fmt.Errorf("not an answer of Azure Resource Manager: %w", err)
	}
	if env.Value != nil {
		for _, v := range env.Value {
			if _, err := s.addJSON(v); err != nil {
				return "", err
			}
		}
		return env.NextLink, nil
	}
	path, ok := pathBelowService(env.ID)
	switch {
	case !ok:
	case len(path) == 0:
		s.service = raw
	case len(path)%2 == 0:
		if env.Name != "" {
			path[len(path)-1] = env.Name
		}
		s.add(path, env.Properties)
	}
	return "", nil
}

// pathBelowService splits an ARM ID behind .../service/{name}.
func pathBelowService(id string) ([]string, bool) {
	const marker = "/providers/microsoft.apimanagement/service/"
	i := strings.Index(strings.ToLower(id), marker)
	if i < 0 {
		return nil, false
	}
	parts := strings.Split(strings.Trim(id[i+len(marker):], "/"), "/")
	return parts[1:], parts[0] != ""
}

// reference is the last name of a full or short ARM ID: x for .../users/x.
func reference(id string) string {
	id = strings.TrimRight(id, "/")
	return id[strings.LastIndexByte(id, '/')+1:]
}

// scopeBelow is a subscription's scope without the service: /products/x, /apis
// or / for all access, which ends in a slash behind the service's name.
func scopeBelow(scope string) string {
	if path, ok := pathBelowService(scope); ok {
		return "/" + strings.Join(path, "/")
	}
	return "/" + strings.Trim(scope, "/")
}

// properties reads members of an object and keeps the first error.
type properties struct {
	e   *entity
	err error
}

func (p *properties) into(name string, v any) {
	raw := p.e.properties[name]
	if isNull(raw) || p.err != nil {
		return
	}
	if err := json.Unmarshal(raw, v); err != nil {
		p.err = fmt.Errorf("%s: %s: %w", strings.Join(p.e.path, "/"), name, err)
	}
}

func (p *properties) text(name string) string {
	var v string
	p.into(name, &v)
	return v
}

func (p *properties) flag(name string, unset bool) bool {
	v := unset
	p.into(name, &v)
	return v
}

func (p *properties) time(name string) time.Time {
	var v time.Time
	p.into(name, &v)
	return v
}

// instance reads the objects.
func (s *entities) instance() (*Instance, error) {
	in := &Instance{NamedValues: map[string]string{}, Missing: map[Kind]string{}, Counted: map[string][]string{}}
	if err := s.readService(in); err != nil {
		return nil, err
	}
	for _, key := range s.order {
		p := &properties{e: s.byPath[key]}
		in.take(p)
		if p.err != nil {
			return nil, p.err
		}
	}
	return in, s.join(in)
}

func (s *entities) readService(in *Instance) error {
	if s.service == nil {
		return nil
	}
	var v struct {
		Name string `json:"name"`
		SKU  struct {
			Name string `json:"name"`
		} `json:"sku"`
		Identity struct {
			TenantID string `json:"tenantId"`
		} `json:"identity"`
		Properties struct {
			Hosts []struct {
				Type     string `json:"type"`
				HostName string `json:"hostName"`
			} `json:"hostnameConfigurations"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(s.service, &v); err != nil {
		return fmt.Errorf("the service: %w", err)
	}
	in.Name, in.SKU, in.TenantID = v.Name, v.SKU.Name, v.Identity.TenantID
	for _, h := range v.Properties.Hosts {
		if h.Type == "Proxy" {
			in.Hosts = append(in.Hosts, h.HostName)
		}
	}
	return nil
}

// take adds one object to the instance.
func (in *Instance) take(p *properties) {
	switch kind := p.e.kind(); kind {
	case "apis":
		in.APIs = append(in.APIs, readAPI(p))
	case "apiversionsets":
		in.VersionSets = append(in.VersionSets, readVersionSet(p))
	case "products":
		in.Products = append(in.Products, readProduct(p))
	case "users":
		in.Users = append(in.Users, readUser(p))
	case "subscriptions":
		in.Subscriptions = append(in.Subscriptions, readSubscription(p))
	case "clientapplications":
		in.Applications = append(in.Applications, readApplication(p))
	case "policyfragments":
		in.Fragments = append(in.Fragments, Policy{Scope: p.e.name(), XML: p.text("value")})
	case "namedvalues":
		in.NamedValues[p.text("displayName")] = p.text("value")
	case "policies", "products/policies", "apis/policies", "apis/operations/policies":
		in.Policies = append(in.Policies, Policy{
			Scope: strings.Join(p.e.path[:len(p.e.path)-2], "/"), XML: p.text("value"),
		})
	case "identityproviders":
		in.takeTenants(p)
	case "gateways", "workspaces", "groups", "workspaces/subscriptions", "authorizationservers",
		"openidconnectproviders", "loggers", "backends", "certificates", "authorizationproviders":
		in.Counted[kind] = append(in.Counted[kind], p.e.name())
	}
}

func (in *Instance) takeTenants(p *properties) {
	if !strings.EqualFold(p.e.name(), "aad") {
		return
	}
	tenants := []string{}
	p.into("allowedTenants", &tenants)
	if t := p.text("signinTenant"); t != "" {
		tenants = append(tenants, t)
	}
	slices.Sort(tenants)
	in.UserTenants = slices.Compact(tenants)
}

func readAPI(p *properties) API {
	var names struct{ Header, Query string }
	p.into("subscriptionKeyParameterNames", &names)
	id, revision, other := strings.Cut(p.e.name(), ";rev=")
	a := API{
		ID: id, Name: p.text("displayName"), Description: p.text("description"), Path: p.text("path"),
		ServiceURL: p.text("serviceUrl"), Type: p.text("type"), KeyRequired: p.flag("subscriptionRequired", true),
		KeyHeader: names.Header, KeyQuery: names.Query, Version: p.text("apiVersion"),
		VersionSet: reference(p.text("apiVersionSetId")), Revision: p.text("apiRevision"),
		Current: p.flag("isCurrent", !other), Online: p.flag("isOnline", true),
	}
	if !a.Current {
		a.ID = p.e.name()
	}
	if a.Revision == "" {
		a.Revision = revision
	}
	return a
}

func readVersionSet(p *properties) VersionSet {
	v := VersionSet{ID: p.e.name(), Name: p.text("displayName"), Scheme: p.text("versioningScheme")}
	switch v.Scheme {
	case "Header":
		v.Parameter = p.text("versionHeaderName")
	case "Query":
		v.Parameter = p.text("versionQueryName")
	}
	return v
}

func readProduct(p *properties) Product {
	v := Product{
		ID: p.e.name(), Name: p.text("displayName"), Description: p.text("description"),
		Published: p.text("state") == "published", KeyRequired: p.flag("subscriptionRequired", true),
		ApprovalRequired: p.flag("approvalRequired", false), Limit: -1, Terms: p.text("terms") != "",
	}
	p.into("subscriptionsLimit", &v.Limit)
	p.into("authenticationType", &v.Authentication)
	var application struct {
		Entra struct{ ApplicationID, Audience string }
	}
	p.into("application", &application)
	v.ApplicationID, v.Audience = application.Entra.ApplicationID, application.Entra.Audience
	return v
}

func readUser(p *properties) User {
	v := User{
		ID: p.e.name(), FirstName: p.text("firstName"), LastName: p.text("lastName"),
		Email: p.text("email"), State: p.text("state"), Note: p.text("note"),
	}
	p.into("identities", &v.Identities)
	return v
}

func readSubscription(p *properties) Subscription {
	return Subscription{
		ID: p.e.name(), Name: p.text("displayName"), OwnerID: reference(p.text("ownerId")),
		State: p.text("state"), Comment: p.text("stateComment"), Scope: scopeBelow(p.text("scope")),
		Expires: p.time("expirationDate"),
	}
}

func readApplication(p *properties) Application {
	return Application{
		ID: p.e.name(), Name: p.text("displayName"), Description: p.text("description"),
		OwnerID: reference(p.text("ownerId")), State: p.text("state"),
		AppID: strings.ToLower(p.text("entraApplicationId")), TenantID: strings.ToLower(p.text("entraTenantId")),
	}
}

// join adds what links one object to another.
func (s *entities) join(in *Instance) error {
	for _, key := range s.order {
		p := &properties{e: s.byPath[key]}
		switch p.e.kind() {
		case "products/apilinks", "products/apis":
			id := p.text("apiId")
			if id == "" {
				id = p.e.name() // the older list holds the APIs themselves
			}
			if v := in.product(p.e.parent()); v != nil {
				v.APIs = appendNew(v.APIs, reference(id))
			}
		case "products/grouplinks", "products/groups":
			id := p.text("groupId")
			if id == "" {
				id = p.e.name()
			}
			if v := in.product(p.e.parent()); v != nil {
				v.Groups = appendNew(v.Groups, reference(id))
			}
		case "clientapplications/productlinks":
			v := lookup(in.Applications, p.e.parent(), func(a *Application) string { return a.ID })
			if v != nil {
				v.Products = appendNew(v.Products, reference(p.text("productId")))
			}
		case "apis/operations":
			if v := in.api(p.e.parent()); v != nil {
				v.Operations = append(v.Operations, Operation{
					ID: p.e.name(), Name: p.text("displayName"), Method: p.text("method"), Template: p.text("urlTemplate"),
				})
			}
		}
		if p.err != nil {
			return p.err
		}
	}
	return nil
}

func appendNew(list []string, v string) []string {
	for _, have := range list {
		if strings.EqualFold(have, v) {
			return list
		}
	}
	return append(list, v)
}
