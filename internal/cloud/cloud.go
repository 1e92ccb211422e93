// Package cloud is the one table that issuer, authority, Graph and scope come
// from, for each of Microsoft's clouds and for hosts given outright.
//
// Hosts: https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
// and https://learn.microsoft.com/graph/deployments.
package cloud

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Hosts are the addresses of one cloud. Each is a base URL without a trailing
// slash. The zero value is not usable; take one from [Lookup] or [Resolve].
type Hosts struct {
	// Authority issues tokens and publishes keys: https://login.microsoftonline.com.
	Authority string
	// STS is the base of version 1 issuers: https://sts.windows.net. Empty if
	// that is not known.
	STS string
	// Graph is Microsoft Graph without its version: https://graph.microsoft.com.
	// Empty if that is not known.
	Graph string
	// external marks an External ID tenant: its issuer has another host than its
	// authority.
	external bool
}

var table = map[string]Hosts{
	"public":    {Authority: "https://login.microsoftonline.com", STS: "https://sts.windows.net", Graph: "https://graph.microsoft.com"},
	"usgov":     {Authority: "https://login.microsoftonline.us", STS: "https://sts.windows.net", Graph: "https://graph.microsoft.us"},
	"usgov-dod": {Authority: "https://login.microsoftonline.us", STS: "https://sts.windows.net", Graph: "https://dod-graph.microsoft.us"},
	"china":     {Authority: "https://login.partner.microsoftonline.cn", STS: "https://sts.chinacloudapi.cn", Graph: "https://microsoftgraph.chinacloudapi.cn"},
	// The issuers of version 1 tokens in these two are not published.
	"bleu":  {Authority: "https://login.sovcloud-identity.fr", Graph: "https://graph.svc.sovcloud.fr"},
	"delos": {Authority: "https://login.sovcloud-identity.de", Graph: "https://graph.svc.sovcloud.de"},
}

// Names are the clouds that [Lookup] knows, for error texts.
const Names = `"public", "usgov", "usgov-dod", "china", "bleu", "delos"`

// Lookup finds a cloud by name. The empty name is the public cloud.
func Lookup(name string) (Hosts, error) {
	if name == "" {
		name = "public"
	}
	h, ok := table[name]
	if !ok {
		return Hosts{}, fmt.Errorf("unknown cloud %q: allowed are %s", name, Names)
	}
	return h, nil
}

// loginHosts are the hosts that issue a cloud's tokens, under all their names:
// each cloud's entry in the metadata of Microsoft's own clients. A cloud that
// shares them (usgov-dod) is not named.
var loginHosts = map[string]string{
	"login.microsoftonline.com": "public", "login.windows.net": "public",
	"login.microsoft.com": "public", "sts.windows.net": "public",
	"login.microsoftonline.us": "usgov", "login.usgovcloudapi.net": "usgov",
	"login.partner.microsoftonline.cn": "china", "login.chinacloudapi.cn": "china",
	"login.sovcloud-identity.fr": "bleu", "login.sovcloud-identity.de": "delos",
}

// externalID is the domain of External ID tenants: {name}.ciamlogin.com.
const externalID = ".ciamlogin.com"

// Resolve is what the fields Cloud and Authority of a Config mean together.
//
// An empty authority leaves the cloud of that name, see [Lookup]. Otherwise it
// is a base URL that [CheckURL] takes, with nothing behind the host but, if
// there is exactly one tenant, /{tenant} or /{tenant}/v2.0 (a final slash
// and the case of the tenant do not matter):
//
//   - a login host of a known cloud, also under one of its older names, gives
//     all Hosts of that cloud, as if it had been named. Another cloud than the
//     one that name says is refused;
//   - {name}.ciamlogin.com is an External ID tenant of the public cloud;
//   - any other host gives Hosts without STS and Graph. It excludes a name,
//     which would have nothing left to say.
//
// The error begins with the field that is wrong, "Cloud: " or "Authority: ".
func Resolve(name, authority string, tenants ...string) (Hosts, error) {
	hosts, err := Lookup(name)
	if err != nil {
		return Hosts{}, fmt.Errorf("Cloud: %w", err)
	}
	if authority == "" {
		return hosts, nil
	}
	base, err := baseURL(authority, tenants)
	if err != nil {
		return Hosts{}, err
	}
	if strings.HasSuffix(strings.ToLower(base.Hostname()), externalID) {
		if name != "" && name != "public" {
			return Hosts{}, fmt.Errorf("Authority: %q is an External ID tenant of the public cloud, but Cloud is %q: leave out one of them", base, name)
		}
		return Hosts{Authority: base.String(), Graph: table["public"].Graph, external: true}, nil
	}
	known, isKnown := "", base.Scheme == "https" && (base.Port() == "" || base.Port() == "443")
	if isKnown {
		known, isKnown = loginHosts[strings.ToLower(base.Hostname())]
	}
	switch {
	case !isKnown && name != "":
		return Hosts{}, fmt.Errorf("Authority: excludes Cloud (%q), because %q is no login host of a known cloud: leave out one of them", name, base)
	case !isKnown:
		return Hosts{Authority: base.String()}, nil
	case name == "":
		return table[known], nil
	case hosts.Authority != table[known].Authority:
		return Hosts{}, fmt.Errorf("Authority: %q belongs to the cloud %q, but Cloud is %q: leave out one of them", base, known, name)
	}
	return hosts, nil
}

// baseURL is scheme and host of an authority whose path, if any, is the tenant's.
func baseURL(authority string, tenants []string) (*url.URL, error) {
	if err := CheckURL("Authority", authority); err != nil {
		return nil, err
	}
	u, err := url.Parse(authority)
	if err != nil {
		return nil, fmt.Errorf("Authority: %w", err)
	}
	base := &url.URL{Scheme: u.Scheme, Host: u.Host}
	path := strings.TrimRight(u.EscapedPath(), "/")
	if path == "" || len(tenants) == 1 && tenants[0] != "" &&
		strings.EqualFold(strings.TrimSuffix(path, "/v2.0"), "/"+tenants[0]) {
		return base, nil
	}
	return nil, fmt.Errorf("Authority: path %q is not the tenant: give the host only, %q", path, base)
}

// TokenURL is the version 2 token endpoint of a tenant.
func (h Hosts) TokenURL(tenant string) string {
	return h.Authority + "/" + url.PathEscape(tenant) + "/oauth2/v2.0/token"
}

// AuthorizeURL is the version 2 authorization endpoint of a tenant.
func (h Hosts) AuthorizeURL(tenant string) string {
	return h.Authority + "/" + url.PathEscape(tenant) + "/oauth2/v2.0/authorize"
}

// KeysURL is where a tenant publishes its signing keys.
func (h Hosts) KeysURL(tenant string) string {
	return h.Authority + "/" + url.PathEscape(tenant) + "/discovery/v2.0/keys"
}

// IssuerV1 is the issuer of version 1 tokens of a tenant.
func (h Hosts) IssuerV1(tenant string) string { return h.STS + "/" + tenant + "/" }

// IssuerV2 is the issuer of version 2 tokens of a tenant. That of an External ID
// tenant names the tenant's ID as the host, whatever the authority's name.
func (h Hosts) IssuerV2(tenant string) string {
	if h.external {
		return "https://" + tenant + externalID + "/" + tenant + "/v2.0"
	}
	return h.Authority + "/" + tenant + "/v2.0"
}

// GraphScope is the scope that a client-credentials request for Graph asks for.
func (h Hosts) GraphScope() string { return h.Graph + "/.default" }

// CheckURL refuses a base URL that is not https, has user info, a query or a
// fragment. Plain http passes for loopback hosts only. It names field in its
// error.
func CheckURL(field, raw string) error {
	u, err := url.Parse(raw)
	if strings.ContainsAny(raw, "@?") && (err != nil || u.Hostname() == "") { // not shown: it may hold a password
		return fmt.Errorf("%s: is not an absolute URL without user info and query", field)
	}
	if err != nil || u.Hostname() == "" {
		return fmt.Errorf("%s: %q is not an absolute URL", field, raw)
	}
	if u.User != nil || strings.ContainsAny(raw, "?#") { // also empty ones, behind which a path would be lost
		return fmt.Errorf("%s: must not carry user info, a query or a fragment", field)
	}
	if u.Scheme == "https" || u.Scheme == "http" && IsLoopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("%s: must be https (plain http is allowed for loopback hosts only), got scheme %q", field, u.Scheme)
}

// IsLoopback reports whether a host name, without its port, is this machine by
// its literal name: no look-up is made.
func IsLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// IsGUID reports whether s is written as the ID of a tenant, an application or a
// client is: 00001111-aaaa-2222-bbbb-3333cccc4444, in any case.
func IsGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
		if dash && c != '-' || !dash && !hex {
			return false
		}
	}
	return true
}
