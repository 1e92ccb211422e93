package entratest

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/entragate/entragate/internal/secret"
)

// serveToken is the token endpoint: client_credentials with a secret in the body
// or by Basic authentication, with a client assertion, and the authorization_code of
// the sign-in page. The version 1 endpoint takes resource in place of scope, and
// client_credentials only.
func (t *Tenant) serveToken(w http.ResponseWriter, r *http.Request, e *Entry, v1 bool) *aadError {
	form, failed := tokenForm(w, r)
	if failed != nil {
		return failed
	}
	id, password, basic := r.BasicAuth()
	if basic { // RFC 6749, section 2.3.1: both are form-encoded
		id, password = unescape(id), unescape(password)
		if form.Has("client_id") && form.Get("client_id") != id {
			return aad(http.StatusBadRequest, "invalid_request", 900144, "The client_id in the body and in the Authorization header differ.")
		}
		form.Set("client_id", id)
		form.Set("client_secret", password)
	}
	e.AppID = form.Get("client_id")
	var answer map[string]any
	switch grant := form.Get("grant_type"); {
	case grant == "client_credentials":
		answer, failed = t.clientCredentials(form, v1)
	case grant == "authorization_code" && !v1:
		answer, failed = t.redeemCode(form)
	case grant == "":
		failed = missing("grant_type")
	default:
		failed = aad(http.StatusBadRequest, "unsupported_grant_type", 70003, "The app requested an unsupported grant type '%s'.", grant)
	}
	if failed == nil {
		writeJSON(w, http.StatusOK, answer)
	}
	return failed
}

func tokenForm(w http.ResponseWriter, r *http.Request) (url.Values, *aadError) {
	if r.Method != http.MethodPost {
		return nil, aad(http.StatusBadRequest, "invalid_request", 900561, "The endpoint only accepts POST requests. Received a %s request.", r.Method)
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		return nil, missing("grant_type")
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		return nil, aad(http.StatusBadRequest, "invalid_request", 9000410, "Malformed request body.")
	}
	for name, values := range r.PostForm {
		if len(values) > 1 {
			return nil, aad(http.StatusBadRequest, "invalid_request", 9000411, "The request is not properly formatted. The parameter '%s' is duplicated.", name)
		}
	}
	return r.PostForm, nil
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

func missing(parameter string) *aadError {
	return aad(http.StatusBadRequest, "invalid_request", 900144, "The request body must contain the following parameter: '%s'.", parameter)
}

// clientCredentials answers RFC 6749, section 4.4, as one replica knows the
// client and the resource.
func (t *Tenant) clientCredentials(form url.Values, v1 bool) (map[string]any, *aadError) {
	if form.Get("client_id") == "" {
		return nil, missing("client_id")
	}
	t.mu.Lock()
	v := t.replica()
	claims, failed := t.clientClaims(v, form, v1)
	t.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	answer := bearer(t.sign(claims, nil))
	if v1 { // all values are strings there
		for name, value := range answer {
			answer[name] = fmt.Sprint(value)
		}
		answer["expires_on"], answer["not_before"] = fmt.Sprint(claims["exp"]), fmt.Sprint(claims["nbf"])
		answer["resource"] = form.Get("resource")
	}
	return answer, nil
}

func bearer(token string) map[string]any {
	seconds := int(tokenLifetime.Seconds()) - 1
	return map[string]any{
		"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token,
	}
}

func (t *Tenant) clientClaims(v view, form url.Values, v1 bool) (map[string]any, *aadError) {
	app, acr, failed := t.authenticate(v, form)
	if failed != nil {
		return nil, failed
	}
	client, failed := v.client(app, t.cfg.TenantID)
	if failed != nil {
		return nil, failed
	}
	name := form.Get("resource")
	switch {
	case !v1 && form.Has("resource"):
		return nil, aad(http.StatusBadRequest, "invalid_request", 901002, "The 'resource' request parameter is not supported.")
	case !v1:
		if name, failed = scopeResource(form.Get("scope")); failed != nil {
			return nil, failed
		}
	case name == "":
		return nil, missing("resource")
	}
	return t.claimsFor(v, client, name, acr)
}

// claimsFor checks that the client may have a token for the resource.
func (t *Tenant) claimsFor(v view, client *servicePrincipal, name, acr string) (map[string]any, *aadError) {
	resource := v.resource(name, t.graphBase())
	if resource == nil {
		return nil, aad(http.StatusBadRequest, "invalid_resource", 500011,
			"The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.", name, t.cfg.Name)
	}
	if !resource.usable() {
		return nil, aad(http.StatusBadRequest, "invalid_resource", 500014, "The service principal for resource '%s' is disabled.", name)
	}
	if resource.AppRoleAssignmentRequired && !v.assigned(client.ID, resource) {
		return nil, aad(http.StatusBadRequest, "invalid_grant", 501051, "Application '%s'(%s) is not assigned to a role for the application '%s'(%s).",
			client.AppID, client.DisplayName, name, resource.DisplayName)
	}
	return t.appClaims(v, client, resource, name, acr), nil
}

// client is the service principal that an application signs in as.
func (v view) client(app *application, tenant string) (*servicePrincipal, *aadError) {
	sp := v.principalOf(app.AppID)
	if sp == nil {
		return nil, aad(http.StatusUnauthorized, "invalid_client", 7000229, "The client application %s is missing service principal in the tenant %s.", app.AppID, tenant)
	}
	if !sp.usable() {
		return nil, aad(http.StatusBadRequest, "unauthorized_client", 7000112, "Application '%s'(%s) is disabled.", app.AppID, sp.DisplayName)
	}
	return sp, nil
}

// scopeResource is the resource of a scope that asks for exactly one, by
// /.default.
func scopeResource(scope string) (string, *aadError) {
	// Entra forgives the OpenID scopes here: MSAL for Go sends them with every request.
	fields := slices.DeleteFunc(strings.Fields(scope), func(s string) bool {
		return s == "openid" || s == "profile" || s == "offline_access"
	})
	switch {
	case len(fields) == 0:
		return "", missing("scope")
	case len(fields) > 1:
		return "", aad(http.StatusBadRequest, "invalid_scope", 70011, "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope %s is not valid.", scope)
	}
	name, ok := strings.CutSuffix(fields[0], "/.default")
	if !ok || name == "" {
		return "", aad(http.StatusBadRequest, "invalid_scope", 1002012, "The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", scope)
	}
	return name, nil
}

// authenticate finds the application and checks what it proves itself with; acr
// is "1" for a secret, "2" for an assertion. The caller holds mu.
func (t *Tenant) authenticate(v view, form url.Values) (app *application, acr string, failed *aadError) {
	id := form.Get("client_id")
	app = v.applicationOf(strings.ToLower(id))
	if app == nil {
		return nil, "", aad(http.StatusBadRequest, "unauthorized_client", 700016, "Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.", id, t.cfg.Name)
	}
	if assertion := form.Get("client_assertion"); assertion != "" {
		if kind := form.Get("client_assertion_type"); kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
			return nil, "", missing("client_assertion_type")
		}
		return app, "2", t.checkAssertion(app, assertion)
	}
	value := secret.New(form.Get("client_secret"))
	if value.IsZero() {
		return nil, "", aad(http.StatusUnauthorized, "invalid_client", 7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	}
	return app, "1", t.checkSecret(app, value)
}

func (t *Tenant) checkSecret(app *application, value secret.Value) *aadError {
	for _, p := range app.PasswordCredentials {
		if !p.secret.Equal(value) {
			continue
		}
		if expired(p.StartDateTime, p.EndDateTime, t.now()) {
			return aad(http.StatusUnauthorized, "invalid_client", 7000222, "The provided client secret keys for app '%s' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.", app.AppID)
		}
		return nil
	}
	return aad(http.StatusUnauthorized, "invalid_client", 7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", app.AppID)
}

// ManagedIdentityEndpoint is the endpoint that App Service offers a managed
// identity: set IDENTITY_ENDPOINT to its address and IDENTITY_HEADER to header,
// and azidentity's ManagedIdentityCredential gets its tokens there, which live 24
// hours as Azure's do. Azure also caches them for as long; this endpoint does not.
// The identity comes from [Tenant.AddManagedIdentity].
func (t *Tenant) ManagedIdentityEndpoint(c Caller, header string) (http.Handler, error) {
	if !c.managed || header == "" {
		return nil, fmt.Errorf("entratest: a managed identity endpoint needs a Caller of AddManagedIdentity and a header value")
	}
	want := secret.New(header)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := Entry{Request: Request{Service: IdentityService, Method: r.Method, Path: r.URL.Path, AppID: c.AppID}, Status: http.StatusOK}
		if t.loginFault(w, &e) {
			return
		}
		t.serveIdentity(w, r, c, want, &e)
		t.mu.Lock()
		t.note(e)
		t.mu.Unlock()
	}), nil
}

func (t *Tenant) serveIdentity(w http.ResponseWriter, r *http.Request, c Caller, header secret.Value, e *Entry) {
	refuse := func(status int, text string) {
		e.Status = status
		writeJSON(w, status, map[string]any{"statusCode": status, "message": text, "correlationId": ""})
	}
	q := r.URL.Query()
	resource := strings.TrimSuffix(q.Get("resource"), "/.default")
	switch {
	case r.Method != http.MethodGet:
		refuse(http.StatusMethodNotAllowed, "Only GET is supported.")
	case !secret.New(r.Header.Get("X-IDENTITY-HEADER")).Equal(header):
		refuse(http.StatusForbidden, "X-IDENTITY-HEADER is missing or wrong.")
	case q.Get("api-version") != "2019-08-01" || resource == "":
		refuse(http.StatusBadRequest, "api-version=2019-08-01 and resource are required.")
	case q.Has("client_id") && q.Get("client_id") != c.AppID,
		q.Has("principal_id") && q.Get("principal_id") != c.ObjectID,
		q.Has("object_id") && q.Get("object_id") != c.ObjectID,
		q.Has("mi_res_id"):
		refuse(http.StatusBadRequest, "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.")
	default:
		claims, failed := t.identityClaims(c, resource)
		if failed != nil {
			e.Code = fmt.Sprintf("AADSTS%d", failed.code)
			refuse(failed.status, fmt.Sprintf("AADSTS%d: %s", failed.code, failed.text))
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{
			"access_token": t.sign(claims, nil), "token_type": "Bearer", "resource": resource,
			"client_id": c.AppID, "expires_on": fmt.Sprint(claims["exp"]),
		})
	}
}

func (t *Tenant) identityClaims(c Caller, resource string) (map[string]any, *aadError) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.replica()
	client := v.principal(c.ObjectID)
	if client == nil || !client.usable() {
		return nil, aad(http.StatusBadRequest, "unauthorized_client", 7000112, "Application '%s' is disabled.", c.AppID)
	}
	claims, failed := t.claimsFor(v, client, resource, "2")
	if failed == nil {
		claims["exp"] = t.now().Add(identityLifetime).Unix()
		claims["xms_mirid"] = "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/local/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + client.DisplayName
	}
	return claims, failed
}
