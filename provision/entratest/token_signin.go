package entratest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// authCode is an authorization code that was given out.
type authCode struct {
	appID, userID string
	redirectURI   string
	scope, nonce  string
	challenge     string // S256; empty: none was sent
	expires       time.Time
	used          bool
}

const codeLifetime = 10 * time.Minute

// signIn is a checked request to the authorization endpoint.
type signIn struct {
	app     *application
	params  url.Values
	waiting []User // who may be picked
}

// serveAuthorize shows the sign-in page (GET) and signs in who was picked
// there (POST): the authorization code flow of RFC 6749, section 4.1, with PKCE
// of RFC 7636. There are no passwords and no session: each request asks again,
// and prompt=none is login_required.
func (t *Tenant) serveAuthorize(w http.ResponseWriter, r *http.Request) *aadError {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return aad(http.StatusMethodNotAllowed, "invalid_request", 900561, "The endpoint accepts GET and POST requests.")
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		return aad(http.StatusBadRequest, "invalid_request", 9000410, "Malformed request.")
	}
	in, failed := t.checkSignIn(r.Form)
	if failed != nil {
		showError(w, failed)
		return nil
	}
	if kind, text := in.refusal(); kind != "" {
		in.redirect(w, url.Values{"error": {kind}, "error_description": {text}})
		return nil
	}
	picked := r.PostForm.Get("pick")
	if picked == "" {
		in.show(w, t.cfg.Name)
		return nil
	}
	code, failed := t.issueCode(in, picked)
	if failed != nil {
		showError(w, failed)
		return nil
	}
	in.redirect(w, url.Values{"code": {code}, "session_state": {guidFrom(picked)}})
	return nil
}

// checkSignIn finds the application and checks its redirect address. An error here must
// never be sent to that address.
func (t *Tenant) checkSignIn(params url.Values) (*signIn, *aadError) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.newest()
	app := v.applicationOf(strings.ToLower(params.Get("client_id")))
	if app == nil {
		return nil, aad(http.StatusBadRequest, "unauthorized_client", 700016, "Application with identifier '%s' was not found in the directory '%s'.", params.Get("client_id"), t.cfg.Name)
	}
	if _, failed := v.client(app, t.cfg.TenantID); failed != nil {
		return nil, failed
	}
	if !slices.Contains(app.Web.RedirectURIs, params.Get("redirect_uri")) {
		return nil, aad(http.StatusBadRequest, "invalid_request", 50011, "The redirect URI '%s' specified in the request does not match the redirect URIs configured for the application '%s'.", params.Get("redirect_uri"), app.AppID)
	}
	in := &signIn{app: app, params: params}
	for _, u := range t.users {
		if hint := params.Get("login_hint"); !u.disabled && (hint == "" || strings.EqualFold(hint, u.Username)) {
			in.waiting = append(in.waiting, u.User)
		}
	}
	return in, nil
}

// refusal returns the error that is sent to the application for a wrong request.
func (in *signIn) refusal() (kind, text string) {
	p := in.params
	method := p.Get("code_challenge_method")
	switch {
	case p.Get("response_type") != "code":
		return "unsupported_response_type", "AADSTS700054: entratest imitates response_type 'code' only."
	case p.Get("response_mode") != "" && p.Get("response_mode") != "query" && p.Get("response_mode") != "form_post":
		return "invalid_request", "AADSTS900221: entratest imitates response_mode 'query' and 'form_post' only."
	case !slices.Contains(strings.Fields(p.Get("scope")), "openid"):
		return "invalid_scope", "AADSTS70011: entratest signs users in with the scope 'openid' only."
	case p.Has("code_challenge") && (method != "S256" || len(p.Get("code_challenge")) != 43):
		return "invalid_request", "AADSTS501491: Invalid size of Code_Challenge parameter, or a method other than S256."
	case p.Get("prompt") == "none":
		return "login_required", "AADSTS50058: A silent sign-in request was sent but no user is signed in."
	}
	return "", ""
}

// redirect sends the answer to the application.
func (in *signIn) redirect(w http.ResponseWriter, answer url.Values) {
	if state := in.params.Get("state"); state != "" {
		answer.Set("state", state)
	}
	uri := in.params.Get("redirect_uri")
	w.Header().Set("Cache-Control", "no-store")
	if in.params.Get("response_mode") == "form_post" {
		servePage(w, http.StatusOK, formPost, map[string]any{"URI": uri, "Values": answer})
		return
	}
	sep := "?"
	if strings.Contains(uri, "?") {
		sep = "&"
	}
	w.Header().Set("Location", uri+sep+answer.Encode())
	w.WriteHeader(http.StatusFound)
}

func (t *Tenant) issueCode(in *signIn, userID string) (string, *aadError) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.user(userID)
	if u == nil || u.disabled {
		return "", aad(http.StatusForbidden, "access_denied", 50057, "The user account is disabled or does not exist.")
	}
	v := t.newest()
	resource := v.principalOf(in.app.AppID)
	if resource == nil {
		return "", aad(http.StatusBadRequest, "unauthorized_client", 700016, "Application '%s' was not found.", in.app.AppID)
	}
	if resource.AppRoleAssignmentRequired && !v.assigned(userID, resource) {
		return "", aad(http.StatusForbidden, "access_denied", 50105, "Your administrator has configured the application %s ('%s') to block users unless they are specifically granted ('assigned') access to the application. The signed in user '%s' is blocked because they are not a direct member of a group with access, nor had access directly assigned by an administrator.", in.app.DisplayName, in.app.AppID, u.Username)
	}
	maps.DeleteFunc(t.codes, func(_ string, c *authCode) bool { return t.now().After(c.expires) })
	code := "1." + t.newText(80)
	t.codes[code] = &authCode{
		appID: in.app.AppID, userID: userID, redirectURI: in.params.Get("redirect_uri"), scope: in.params.Get("scope"),
		nonce: in.params.Get("nonce"), challenge: in.params.Get("code_challenge"), expires: t.now().Add(codeLifetime),
	}
	return code, nil
}

// redeemCode answers grant_type=authorization_code. A code serves once; an
// attempt that is refused does not use it up.
func (t *Tenant) redeemCode(form url.Values) (map[string]any, *aadError) {
	if form.Get("client_id") == "" {
		return nil, missing("client_id")
	}
	t.mu.Lock()
	idClaims, accessClaims, scope, failed := t.codeClaims(form)
	t.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	answer := bearer(t.sign(accessClaims, nil))
	answer["id_token"], answer["scope"] = t.sign(idClaims, nil), scope
	return answer, nil
}

func (t *Tenant) codeClaims(form url.Values) (id, access map[string]any, scope string, failed *aadError) {
	v := t.newest()
	app, _, failed := t.authenticate(v, form)
	if failed != nil {
		return nil, nil, "", failed
	}
	client, failed := v.client(app, t.cfg.TenantID)
	if failed != nil {
		return nil, nil, "", failed
	}
	code, failed := t.takeCode(app, form)
	if failed != nil {
		return nil, nil, "", failed
	}
	u := t.user(code.userID)
	if u == nil || u.disabled {
		return nil, nil, "", aad(http.StatusBadRequest, "invalid_grant", 50057, "The user account is disabled.")
	}
	return t.idClaims(v, u, client, code), t.userClaims(v, u, client), code.scope, nil
}

func (t *Tenant) takeCode(app *application, form url.Values) (*authCode, *aadError) {
	refuse := func(number int, text string) (*authCode, *aadError) {
		return nil, aad(http.StatusBadRequest, "invalid_grant", number, "%s", text)
	}
	code := t.codes[form.Get("code")]
	switch {
	case form.Get("code") == "":
		return nil, missing("code")
	case code == nil || code.appID != app.AppID:
		return refuse(9002313, "Invalid request. Request is malformed or invalid.")
	case code.used:
		return refuse(54005, "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.")
	}
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	verified := base64.RawURLEncoding.EncodeToString(sum[:])
	switch {
	case !t.now().Before(code.expires):
		return refuse(70008, "The provided authorization code or refresh token has expired due to inactivity.")
	case form.Get("redirect_uri") != code.redirectURI:
		return refuse(500112, "The reply address does not match the reply address provided when requesting Authorization code.")
	case code.challenge != "" && subtle.ConstantTimeCompare([]byte(verified), []byte(code.challenge)) != 1:
		return refuse(501481, "The Code_Verifier does not match the code_challenge supplied in the authorization request.")
	}
	code.used = true
	return code, nil
}

// idClaims returns the claims of the ID token.
func (t *Tenant) idClaims(v view, u *user, client *servicePrincipal, code *authCode) map[string]any {
	c := t.commonLocked("2.0", t.issuer())
	pairwise := sha256.Sum256([]byte(client.AppID + u.ObjectID))
	maps.Copy(c, map[string]any{
		"aud": client.AppID, "oid": u.ObjectID, "sub": base64.RawURLEncoding.EncodeToString(pairwise[:]),
		"name": u.Name, "preferred_username": u.Username,
	})
	if code.nonce != "" {
		c["nonce"] = code.nonce
	}
	if slices.Contains(strings.Fields(code.scope), "email") {
		c["email"] = u.Username
	}
	if roles := v.roles(u.ObjectID, client, "User"); len(roles) > 0 {
		c["roles"] = roles
	}
	return c
}

// userClaims returns the claims of the access token that comes with an ID token: a
// delegated token for Graph, which allows nothing that is imitated here.
func (t *Tenant) userClaims(v view, u *user, client *servicePrincipal) map[string]any {
	iss := t.issuerV1()
	c := t.commonLocked("1.0", iss)
	maps.Copy(c, map[string]any{
		"aud": GraphAppID, "appid": client.AppID, "appidacr": "1", "idtyp": "user", "oid": u.ObjectID, "sub": u.ObjectID,
		"name": u.Name, "upn": u.Username, "scp": "openid profile email User.Read",
	})
	return c
}

// serveLogout ends the sign-in. It goes on to a redirect URI that some
// application registered, and nowhere else.
func (t *Tenant) serveLogout(w http.ResponseWriter, r *http.Request) {
	to := r.FormValue("post_logout_redirect_uri")
	t.mu.Lock()
	known := to != "" && slices.ContainsFunc(t.store.appOrder, func(id string) bool {
		a := t.newest().application(id)
		return a != nil && slices.Contains(a.Web.RedirectURIs, to)
	})
	t.mu.Unlock()
	if known {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
		return
	}
	servePage(w, http.StatusOK, signedOut, nil)
}

func (in *signIn) show(w http.ResponseWriter, tenant string) {
	hidden := url.Values{}
	maps.Copy(hidden, in.params)
	delete(hidden, "pick")
	servePage(w, http.StatusOK, pickPage, map[string]any{
		"Tenant": tenant, "App": in.app.DisplayName, "Users": in.waiting, "Hidden": hidden,
	})
}

func showError(w http.ResponseWriter, e *aadError) {
	servePage(w, e.status, errorPage, map[string]any{"Code": fmt.Sprintf("AADSTS%d", e.code), "Text": e.text})
}

func servePage(w http.ResponseWriter, status int, page *template.Template, data any) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-"+submitSum+"'; frame-ancestors 'none'; base-uri 'none'")
	w.WriteHeader(status)
	_ = page.Execute(w, data) // a reader that went away
}

// submit sends the form of form_post; browsers without it show a button.
const submit = "document.forms[0].submit()"

var submitSum = func() string {
	sum := sha256.Sum256([]byte(submit))
	return base64.StdEncoding.EncodeToString(sum[:])
}()

const head = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Sign in to a local tenant</title><style>
body{font:16px/1.5 system-ui,sans-serif;background:#f2f2f2;color:#1b1b1b;margin:0;display:grid;place-items:center;min-height:100vh}
main{background:#fff;padding:2rem;width:min(26rem,100% - 2rem);box-sizing:border-box;border-radius:4px;box-shadow:0 2px 6px #0003}
h1{font-size:1.4rem;margin:0 0 .5rem}button{display:block;width:100%;text-align:left;font:inherit;color:inherit;background:none;border:1px solid #767676;border-radius:4px;padding:.6rem .8rem;margin:.5rem 0;cursor:pointer}
button:hover,button:focus-visible{background:#eef4fb;outline:2px solid #0067b8}small{color:#595959;display:block}
@media(prefers-color-scheme:dark){body{background:#1b1b1b;color:#f2f2f2}main{background:#2b2b2b}small{color:#bdbdbd}button:hover,button:focus-visible{background:#38424d}}
</style></head><body><main>`

var (
	pickPage = template.Must(template.New("pick").Parse(head + `<h1>Pick an account</h1>
<p>to continue to <strong>{{.App}}</strong><small>{{.Tenant}}, a local tenant: there are no passwords</small></p>
<form method="post" action="?">{{range $name, $values := .Hidden}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}
{{range .Users}}<button name="pick" value="{{.ObjectID}}">{{.Name}}<small>{{.Username}}</small></button>{{else}}<p>The tenant has no such user.</p>{{end}}
</form></main></body></html>`))
	errorPage = template.Must(template.New("error").Parse(head + `<h1>Sorry, but we’re having trouble signing you in.</h1>
<p>{{.Code}}: {{.Text}}</p></main></body></html>`))
	signedOut = template.Must(template.New("out").Parse(head + `<h1>You signed out</h1></main></body></html>`))
	formPost  = template.Must(template.New("post").Parse(head + `<form method="post" action="{{.URI}}">
{{range $name, $values := .Values}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}
<button>Continue</button></form></main><script>` + submit + `</script></body></html>`))
)
