package gatetest

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// attacksOnWiring are rows 44 to 47: what surrounds the gate in a service, such as
// routers, framework adapters and proxies.
func attacksOnWiring(t *Target) []Attack {
	all := []Attack{
		{Row: 45, Name: "switch to HTTP/2 without TLS", run: switchProtocol},
		{Row: 46, Name: "other spellings of the path, without a credential", run: spellings},
		{Row: 47, Name: "other methods, without a credential", run: methods},
	}
	if t.Received != nil {
		all = append([]Attack{{Row: 44, Name: "forged headers behind a proxy", Status: http.StatusOK, run: forgedHeaders}}, all...)
	}
	return all
}

// proxyHeaders name another caller, path or method to some servers.
var proxyHeaders = []string{
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Forwarded-Uri", "X-Real-Ip",
	"X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override",
	"X-Forwarded-User", "X-Forwarded-Client-Cert",
}

const forgedValue = "forged.example"

// forgedHeaders sends a genuine token with headers that only a proxy may set. It also
// sends them with _ and . instead of -, because some CGI and WSGI servers do not
// distinguish these characters.
func forgedHeaders(a *attacker) error {
	r := a.request()
	r.Header.Set("Authorization", "Bearer "+a.token(nil, nil))
	for _, name := range append(proxyHeaders, a.CallerHeaders...) {
		r.Header[name] = []string{forgedValue}
		r.Header[strings.ReplaceAll(name, "-", "_")] = []string{forgedValue}
		r.Header[strings.ReplaceAll(name, "-", ".")] = []string{forgedValue}
	}
	if err := a.send(r); err != nil {
		return err
	}
	received := a.Received()
	if received == nil {
		return errors.New("Target.Received returned nil: the API behind the proxy received no request")
	}
	for name, values := range received {
		if strings.Contains(strings.Join(values, ","), forgedValue) {
			return fmt.Errorf("the API behind the proxy received %s as the caller sent it", name)
		}
	}
	return nil
}

// switchProtocol requests h2c with a genuine token: through such a tunnel further
// requests would bypass the gate.
func switchProtocol(a *attacker) error {
	for _, upgrade := range []string{"h2c", "H2C", "websocket, h2c"} {
		r := a.request()
		for name, value := range map[string]string{
			"Authorization": "Bearer " + a.token(nil, nil), "Connection": "Upgrade, HTTP2-Settings",
			"Upgrade": upgrade, "Http2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA",
		} {
			r.Header.Set(name, value)
		}
		resp, err := a.Send(r)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return fmt.Errorf("answered %d to Upgrade: %s", resp.StatusCode, upgrade)
		}
	}
	return nil
}

// spellings sends requests without a credential to paths that some servers read as the
// guarded path.
func spellings(a *attacker) error {
	path := a.Path
	name := strings.TrimPrefix(path, "/")
	all := []string{
		swapCase(path), "/" + path, "/." + path, "/x/.." + path, "/x/%2e%2e" + path, "/x/..%2f" + name, "/%2f" + name, "/%5c" + name,
		path + "/", path + "//", path + "%2f", path + "/.", path + "/x/..", path + ".", path + "%20", path + "%09", path + ";x=y", path + "%00", path + "%3f",
	}
	if name != "" {
		all = append(all, fmt.Sprintf("/%%%02x%s", name[0], name[1:]), fmt.Sprintf("/%%25%02x%s", name[0], name[1:]))
	}
	for _, spelling := range all {
		r := a.request()
		u, err := url.Parse("http://" + r.URL.Host + spelling)
		if err != nil {
			continue
		}
		r.URL.Path, r.URL.RawPath = u.Path, u.RawPath
		if a.Handler != nil {
			r.RequestURI = spelling
		}
		if err := a.refused(r); err != nil {
			return fmt.Errorf("path %s: %w", spelling, err)
		}
	}
	return nil
}

// methods sends requests without a credential with each method, and with headers that
// name another method. It leaves out OPTIONS, which CORS handlers answer without a
// credential.
func methods(a *attacker) error {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "get"} {
		for _, header := range []string{"", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override"} {
			r := a.request()
			r.Method = method
			if header != "" {
				r.Header.Set(header, "GET")
			}
			if err := a.refused(r); err != nil {
				return fmt.Errorf("method %s %s: %w", method, header, err)
			}
		}
	}
	return nil
}

// refused sends a request that must not succeed and must not reach a handler.
func (a *attacker) refused(r *http.Request) error {
	reached := 0
	if a.Reached != nil {
		reached = a.Reached()
	}
	resp, err := a.Send(r)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode < 300 {
		return fmt.Errorf("answered %d, expected a refusal", resp.StatusCode)
	}
	if a.Reached != nil && a.Reached() != reached {
		return fmt.Errorf("answered %d, but a handler ran", resp.StatusCode)
	}
	return nil
}
