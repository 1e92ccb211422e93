package entratest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// aadError is an answer of the authority that is no success. code is the
// number after AADSTS.
type aadError struct {
	status int
	kind   string // OAuth error
	code   int
	text   string
}

func aad(status int, kind string, code int, format string, args ...any) *aadError {
	return &aadError{status, kind, code, fmt.Sprintf(format, args...)}
}

// serveLogin answers everything that is not Graph. path is still escaped.
func (t *Tenant) serveLogin(w http.ResponseWriter, r *http.Request, path []string) {
	tenant, err := url.PathUnescape(path[0])
	rest := strings.Join(path[1:], "/")
	service := loginService(rest)
	if err != nil || service == "" {
		notImitated(w, "%s %s", r.Method, r.URL.Path)
		return
	}
	entry := Entry{Request: Request{Service: service, Method: r.Method, Path: r.URL.Path}, Status: http.StatusOK}
	if t.loginFault(w, &entry) {
		return
	}
	failed := t.checkTenant(tenant, rest)
	if failed == nil {
		switch rest {
		case "oauth2/v2.0/token", "oauth2/token":
			failed = t.serveToken(w, r, &entry, rest == "oauth2/token")
		case "oauth2/v2.0/authorize":
			failed = t.serveAuthorize(w, r)
		case "oauth2/v2.0/logout":
			t.serveLogout(w, r)
		default:
			t.serveMetadata(w, r, tenant, rest)
		}
	}
	if failed != nil {
		entry.Status, entry.Code = failed.status, fmt.Sprintf("AADSTS%d", failed.code)
		t.writeAAD(w, r, failed)
	}
	t.mu.Lock()
	t.note(entry)
	t.mu.Unlock()
}

func loginService(rest string) Service {
	switch rest {
	case "oauth2/v2.0/token", "oauth2/token":
		return TokenService
	case "oauth2/v2.0/authorize", "oauth2/v2.0/logout":
		return SignInService
	case "discovery/v2.0/keys", "discovery/keys":
		return KeysService
	case "v2.0/.well-known/openid-configuration", ".well-known/openid-configuration", "discovery/instance":
		return MetadataService
	}
	return ""
}

// loginFault counts a request and puts the fault in that it is due, if any;
// then it reports true. Faults after the request are faults before it here:
// nothing changes at these endpoints.
func (t *Tenant) loginFault(w http.ResponseWriter, e *Entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Service {
	case TokenService, IdentityService:
		t.record.counts.Tokens++
	case KeysService:
		t.record.counts.Keys++
	}
	f := t.fault(e.Request)
	if f.Kind == NoFault {
		return false
	}
	e.Fault, e.Status = f.Kind, f.httpStatus()
	t.note(*e)
	if f.Kind.cuts() {
		panic(http.ErrAbortHandler)
	}
	if f.Kind == Throttle {
		w.Header().Set("Retry-After", fmt.Sprint(f.retryAfter()))
	}
	w.WriteHeader(e.Status)
	return true
}

// httpStatus is the status of the answer; 0: none is sent.
func (f Fault) httpStatus() int {
	switch f.Kind {
	case Throttle, ThrottleBare:
		return http.StatusTooManyRequests
	case UnavailableBefore, UnavailableAfter:
		return http.StatusServiceUnavailable
	case TimeoutBefore, TimeoutAfter:
		return http.StatusGatewayTimeout
	case Refuse:
		return f.Status
	}
	return 0
}

// checkTenant refuses a tenant in a path that is not this one. Discovery also
// answers for "common" and "organizations".
func (t *Tenant) checkTenant(tenant, rest string) *aadError {
	if strings.EqualFold(tenant, t.cfg.TenantID) || strings.EqualFold(tenant, t.domain()) {
		return nil
	}
	shared := tenant == "common" || tenant == "organizations"
	switch {
	case shared && !strings.HasPrefix(rest, "oauth2/"):
		return nil
	case shared:
		return aad(http.StatusBadRequest, "invalid_request", 50194, "The application is not configured as a multi-tenant application. Usage of the /%s endpoint is not supported for such applications.", tenant)
	case !validGUID(tenant) && !strings.Contains(tenant, "."):
		return aad(http.StatusBadRequest, "invalid_request", 900023, "Specified tenant identifier '%s' is neither a valid DNS name, nor a valid external domain.", tenant)
	}
	return aad(http.StatusBadRequest, "invalid_tenant", 90002, "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", tenant)
}

func (t *Tenant) writeAAD(w http.ResponseWriter, r *http.Request, e *aadError) {
	t.mu.Lock()
	trace, correlation := t.newID(), t.newID()
	t.mu.Unlock()
	if id := r.Header.Get("client-request-id"); validGUID(id) {
		correlation = id
	}
	stamp := t.now().Format("2006-01-02 15:04:05Z")
	w.Header().Set("x-ms-request-id", trace)
	writeJSON(w, e.status, map[string]any{
		"error": e.kind,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
			e.code, e.text, trace, correlation, stamp),
		"error_codes":    []int{e.code},
		"timestamp":      stamp,
		"trace_id":       trace,
		"correlation_id": correlation,
		"error_uri":      fmt.Sprintf("%s/error?code=%d", t.BaseURL(), e.code),
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("entratest: answer cannot be JSON: %v", err))
	}
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store, no-cache")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func notImitated(w http.ResponseWriter, format string, args ...any) {
	http.Error(w, "entratest does not imitate this: "+fmt.Sprintf(format, args...), http.StatusNotImplemented)
}

// serveMetadata answers discovery and keys.
func (t *Tenant) serveMetadata(w http.ResponseWriter, r *http.Request, tenant, rest string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	base := t.BaseURL()
	host, graph := base[strings.Index(base, "://")+3:], t.GraphURL()
	named := t.ID()
	if tenant == "common" || tenant == "organizations" {
		named = "{tenantid}"
	}
	v1, v2 := t.STS()+"/"+named+"/", base+"/"+named+"/v2.0"
	if strings.HasPrefix(rest, "discovery/") && rest != "discovery/instance" {
		w.Header().Set("Cache-Control", "max-age=86400, private")
	}
	switch rest {
	case "discovery/v2.0/keys", "discovery/keys":
		writeJSON(w, http.StatusOK, t.jwks(v2, host))
	case "discovery/instance":
		t.serveInstance(w, r, base, host)
	case ".well-known/openid-configuration":
		writeJSON(w, http.StatusOK, openIDConfiguration(base, tenant, v1, host, graph, "/oauth2", "/discovery"))
	default:
		writeJSON(w, http.StatusOK, openIDConfiguration(base, tenant, v2, host, graph, "/oauth2/v2.0", "/discovery/v2.0"))
	}
}

func (t *Tenant) serveInstance(w http.ResponseWriter, r *http.Request, base, host string) {
	tenant := t.ID()
	if u, err := url.Parse(r.URL.Query().Get("authorization_endpoint")); err == nil {
		if first, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/"); first != "" {
			tenant = first
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": base + "/" + url.PathEscape(tenant) + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata": []any{map[string]any{
			"preferred_network": host, "preferred_cache": host, "aliases": []string{host},
		}},
	})
}

// openIDConfiguration is the discovery document of one version, which names the
// endpoints of that version.
func openIDConfiguration(base, tenant, issuer, host, graph, oauth2, discovery string) any {
	at := base + "/" + url.PathEscape(tenant)
	return map[string]any{
		"issuer":                                issuer,
		"authorization_endpoint":                at + oauth2 + "/authorize",
		"token_endpoint":                        at + oauth2 + "/token",
		"end_session_endpoint":                  at + oauth2 + "/logout",
		"jwks_uri":                              at + discovery + "/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_modes_supported":              []string{"query", "form_post"},
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"scopes_supported":                      []string{"openid", "profile", "email"},
		"claims_supported": []string{"sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username",
			"name", "tid", "ver", "oid", "roles", "email"},
		"tenant_region_scope":             "EU",
		"cloud_instance_name":             host,
		"cloud_graph_host_name":           graph[strings.Index(graph, "://")+3:],
		"msgraph_host":                    graph[strings.Index(graph, "://")+3:],
		"request_uri_parameter_supported": false,
		"http_logout_supported":           true,
	}
}

// expired reports whether a credential's time is over or not yet come.
func expired(start, end, now time.Time) bool { return now.Before(start) || !now.Before(end) }
