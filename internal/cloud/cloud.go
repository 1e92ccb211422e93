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
// slash. The zero value is not usable; take one from [Lookup] or fill it and
// call [Hosts.Check].
type Hosts struct {
	// Authority issues tokens and publishes keys: https://login.microsoftonline.com.
	Authority string
	// STS is the base of version 1 issuers: https://sts.windows.net.
	STS string
	// Graph is Microsoft Graph without its version: https://graph.microsoft.com.
	Graph string
}

var table = map[string]Hosts{
	"public":    {"https://login.microsoftonline.com", "https://sts.windows.net", "https://graph.microsoft.com"},
	"usgov":     {"https://login.microsoftonline.us", "https://sts.windows.net", "https://graph.microsoft.us"},
	"usgov-dod": {"https://login.microsoftonline.us", "https://sts.windows.net", "https://dod-graph.microsoft.us"},
	"china":     {"https://login.partner.microsoftonline.cn", "https://sts.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn"},
}

// Names are the clouds that [Lookup] knows, for error texts.
const Names = `"public", "usgov", "usgov-dod", "china"`

// Lookup finds a cloud by name. The empty name is the public cloud.
func Lookup(name string) (Hosts, error) {
	if name == "" {
		name = "public"
	}
	h, ok := table[name]
	if !ok {
		return Hosts{}, fmt.Errorf("cloud: unknown cloud %q: allowed are %s", name, Names)
	}
	return h, nil
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

// IssuerV2 is the issuer of version 2 tokens of a tenant.
func (h Hosts) IssuerV2(tenant string) string { return h.Authority + "/" + tenant + "/v2.0" }

// GraphScope is the scope that a client-credentials request for Graph asks for.
func (h Hosts) GraphScope() string { return h.Graph + "/.default" }

// CheckURL refuses a base URL that is not https, has user info, a query or a
// fragment. Plain http passes for loopback hosts only. It names field in its
// error.
func CheckURL(field, raw string) error {
	u, err := url.Parse(raw)
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
