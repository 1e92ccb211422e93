package middleware_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/middleware"
)

func TestRemedies(t *testing.T) {
	t.Parallel()
	cfg := config(newEntra())
	cfg.AppOnly, cfg.STS = middleware.AppOnlyStrict, "https://sts.test"
	first(&cfg).Audiences = []string{appID}
	g := open(t, cfg)
	v1 := func(changes object) object {
		c := claims(object{"ver": "1.0", "iss": "https://sts.test/" + tenantID + "/", "azp": nil, "appid": clientID, "aud": "api://" + appID})
		for k, v := range changes {
			c[k] = v
		}
		return c
	}
	for name, tc := range map[string]struct {
		claims object
		reason middleware.Reason
		remedy string
	}{
		"no roles at all":      {claims(object{"roles": nil}), middleware.RoleMissing, "must allow applications as members"},
		"another role":         {claims(object{"roles": []string{"Other"}}), middleware.RoleMissing, "Assign the app role " + role},
		"version 1":            {v1(nil), middleware.TokenAudienceNotAllowed, "requestedAccessTokenVersion"},
		"slash at the end":     {claims(object{"aud": appID + "/"}), middleware.TokenAudienceNotAllowed, "by a slash at its end"},
		"letter case":          {claims(object{"aud": strings.ToUpper(appID)}), middleware.TokenAudienceNotAllowed, "by letter case only"},
		"foreign audience":     {claims(object{"aud": "api://elsewhere"}), middleware.TokenAudienceNotAllowed, "with the scope api://" + appID + "/.default"},
		"no idtyp":             {claims(object{"idtyp": nil}), middleware.TokenClaimNotFound, "optional claim idtyp"},
		"a user's":             {claims(object{"scp": "x", "idtyp": "user"}), middleware.TokenOfUser, "client-credentials flow"},
		"audience of another":  {claims(object{"aud": otherApp + "/"}), middleware.TokenAudienceNotAllowed, "with the scope api://" + appID + "/.default"},
		"expired a moment ago": {claims(object{"exp": 1000, "iat": 900, "nbf": 900}), middleware.TokenExpired, "Get a new token"},
	} {
		d := g.ExplainProduct("starter", bearerRequest(mint(t, tc.claims)))
		assert.Equal(t, tc.reason, d.Reason, name)
		assert.Contains(t, d.Remedy, tc.remedy, name)
		assert.NotContains(t, d.Remedy, otherApp, "%s: other products are nobody's business here", name)
	}
	assert.Empty(t, g.ExplainProduct("starter", bearerRequest(mint(t, claims(nil)))).Remedy)
}

// A caller quotes the ID of a refusal, and the operator finds it in the log.
func TestARefusalCanBeQuoted(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	cfg := config(newEntra())
	cfg.Logger = slog.New(slog.NewJSONHandler(&log, nil))
	var audited []middleware.Decision
	cfg.Audit = func(_ *http.Request, d middleware.Decision) { audited = append(audited, d) }
	h := open(t, cfg).Product("starter")(echo)
	w := call(h, mint(t, claims(object{"roles": nil})))
	require.Equal(t, 403, w.Code)
	id := w.Header().Get("Entragate-Decision-Id")
	require.Len(t, id, 16)
	var body struct{ DecisionID string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	assert.Equal(t, id, body.DecisionID)
	assert.Contains(t, log.String(), `"decision":"`+id+`"`)
	assert.Contains(t, log.String(), `"remedy":"The token has no roles`)
	assert.NotContains(t, w.Body.String(), "roles claim", "the caller is not shown the remedy")
	require.Len(t, audited, 1)
	assert.Equal(t, id, audited[0].ID)

	again := call(h, "garbage").Header().Get("Entragate-Decision-Id")
	assert.NotEqual(t, id, again)
	assert.Empty(t, call(h, mint(t, claims(nil))).Header().Get("Entragate-Decision-Id"), "nothing was refused")
	assert.Empty(t, audited[2].ID)
}

func TestRefusalsOnOneProductNameIt(t *testing.T) {
	t.Parallel()
	g := open(t, config(newEntra()))
	for _, r := range []*http.Request{request("/echo"), bearerRequest("garbage"), bearerRequest(mint(t, claims(object{"roles": nil})))} {
		assert.Equal(t, "starter", g.ExplainProduct("starter", r).Product)
	}
}

func TestSpacesBeforeTheToken(t *testing.T) {
	t.Parallel()
	h := open(t, config(newEntra())).Product("starter")(echo)
	token := mint(t, claims(nil))
	assert.Equal(t, 200, get(h, "/echo", "Authorization", "Bearer   "+token).Code, "RFC 9110, 11.4")
	assert.Equal(t, 401, get(h, "/echo", "Authorization", "Bearer \t"+token).Code)
}
