package main

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// forwarding sets the headers that say where a request came from. It believes the
// headers of trusted proxies only.
type forwarding struct {
	trusted []netip.Prefix
	public  *url.URL // nil: scheme and host of the request
}

// parseProxies reads a list of addresses and networks.
func parseProxies(list string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for text := range strings.SplitSeq(list, ",") {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("TRUSTED_PROXIES: %q is neither an IP address nor a network such as 10.0.0.0/8", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		out = append(out, prefix.Masked())
	}
	return out, nil
}

func newForwarding(trusted []netip.Prefix, public string) (*forwarding, error) {
	f := &forwarding{trusted: trusted}
	if public == "" {
		return f, nil
	}
	u, err := url.Parse(public)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("PUBLIC_URL: %q is not an absolute URL", public)
	}
	f.public = u
	return f, nil
}

// peer returns the address that the connection comes from; an invalid address if
// RemoteAddr is not one.
func peer(r *http.Request) netip.Addr {
	a, _ := netip.ParseAddrPort(r.RemoteAddr)
	return a.Addr().Unmap().WithZone("")
}

// fromTrusted reports whether a trusted proxy sent r.
func (f *forwarding) fromTrusted(r *http.Request) bool {
	a := peer(r)
	return a.IsValid() && slices.ContainsFunc(f.trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}

// spoofable reports whether some servers take the caller's address or identity, or
// another path, method, scheme or host than the request has, from a header. The gateway
// removes these headers; set writes some of them itself.
func spoofable(name string) bool {
	return spoofableNames[name] || slices.ContainsFunc(spoofablePrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// spoofablePrefixes cover headers such as X-Forwarded-User and X-Forwarded-Client-Cert
// of other proxies, too.
var spoofablePrefixes = []string{"x-forwarded", "x-original-", "x-rewrite-", "x-ms-client-principal", "x-auth-request-", "x-envoy-"}

var spoofableNames = map[string]bool{
	"forwarded": true, "x-scheme": true, "front-end-https": true, "x-url-scheme": true, "x-host": true,
	"x-real-ip": true, "x-client-ip": true, "client-ip": true, "x-cluster-client-ip": true, "true-client-ip": true,
	"cf-connecting-ip": true, "fastly-client-ip": true, "x-azure-clientip": true, "x-script-name": true, "script-name": true,
	"x-remote-user": true, "remote-user": true,
	"x-http-method-override": true, "x-http-method": true, "x-method-override": true,
	"proxy": true, // CGI programs read it as HTTP_PROXY
}

// set writes the forwarding headers of a request to an API below prefix.
func (f *forwarding) set(pr *httputil.ProxyRequest, prefix string) {
	in, out := pr.In, pr.Out.Header
	removeHeaders(out, spoofable)
	scheme, host, before := "http", in.Host, ""
	if in.TLS != nil {
		scheme = "https"
	}
	var hops []string
	if f.fromTrusted(in) {
		hops = in.Header.Values("X-Forwarded-For")
		if s := last(in.Header, "X-Forwarded-Proto"); s == "http" || s == "https" {
			scheme = s
		}
		host = or(last(in.Header, "X-Forwarded-Host"), host)
		before = strings.TrimSuffix(last(in.Header, "X-Forwarded-Prefix"), "/")
	}
	if f.public != nil {
		scheme, host, before = f.public.Scheme, f.public.Host, strings.TrimSuffix(f.public.EscapedPath(), "/")
	}
	if a := peer(in); a.IsValid() {
		hops = append(slices.Clone(hops), a.String())
	}
	if len(hops) > 0 {
		out.Set("X-Forwarded-For", strings.Join(hops, ", "))
	}
	out.Set("X-Forwarded-Proto", scheme)
	out.Set("X-Forwarded-Host", host)
	out.Set("X-Forwarded-Prefix", before+strings.TrimSuffix(prefix, "/"))
}

// last is the last element of a list header: the one that the nearest proxy
// wrote.
func last(h http.Header, name string) string {
	values := h.Values(name)
	if len(values) == 0 {
		return ""
	}
	list := values[len(values)-1]
	return strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
}
