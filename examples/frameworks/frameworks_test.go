package frameworks_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/examples/frameworks"
	"github.com/entragate/entragate/middleware"
	"github.com/entragate/entragate/middleware/gatetest"
	"github.com/entragate/entragate/provision/entratest"
)

const (
	appID    = "55556666-ffff-7777-aaaa-8888bbbb9999"
	clientID = "00001111-aaaa-2222-bbbb-3333cccc4444"
)

func setUp(t *testing.T) (*entratest.Tenant, *middleware.Gate) {
	gin.SetMode(gin.ReleaseMode)
	tenant, err := entratest.New(entratest.Config{})
	require.NoError(t, err)
	gate, err := middleware.New(middleware.Config{
		Tenants: []string{tenant.ID()}, Authority: tenant.BaseURL(), HTTPClient: &http.Client{Transport: tenant.Transport()},
		Products: []middleware.Product{{ID: "starter", Audiences: []string{appID}, Role: "Product.Starter.All", APIs: []string{"echo"}}},
		APIs:     []appaccess.API{{ID: "echo", Path: "/echo"}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, gate.Close()) })
	return tenant, gate
}

// The same requests to every framework, guarded by group and as a whole.
func TestFrameworks(t *testing.T) {
	tenant, gate := setUp(t)
	token := tenant.MintToken(map[string]any{"aud": appID, "azp": clientID, "roles": []string{"Product.Starter.All"}}, nil)
	noRole := tenant.MintToken(map[string]any{"aud": appID, "azp": clientID}, nil)
	for name, h := range map[string]http.Handler{
		"chi": frameworks.Chi(gate), "gin": frameworks.Gin(gate), "echo": frameworks.Echo(gate),
		"chi, wrapped": gate.Wrap(frameworks.Chi(gate)), "gin, wrapped": gate.Wrap(frameworks.Gin(gate)), "echo, wrapped": gate.Wrap(frameworks.Echo(gate)),
	} {
		get := func(path, token string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		w := get("/echo/7", token)
		assert.Equal(t, 200, w.Code, name)
		assert.Equal(t, "hello "+clientID+", this is 7", w.Body.String(), name)
		for token, status := range map[string]int{"": 401, "garbage": 401, noRole: 403} {
			w = get("/echo/7", token)
			assert.Equal(t, status, w.Code, name)
			assert.NotContains(t, w.Body.String(), "hello", name)
			assert.NotEmpty(t, w.Header().Get("WWW-Authenticate"), name)
		}
	}
}

func TestRoutesAreGuarded(t *testing.T) {
	_, gate := setUp(t)
	routes, err := frameworks.ChiRoutes(frameworks.Chi(gate))
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		router http.Handler
		routes []string
	}{
		"chi":  {frameworks.Chi(gate), routes},
		"gin":  {frameworks.Gin(gate), frameworks.GinRoutes(frameworks.Gin(gate))},
		"echo": {frameworks.Echo(gate), frameworks.EchoRoutes(frameworks.Echo(gate))},
	} {
		require.Len(t, tc.routes, 1, name)
		assert.Empty(t, gatetest.Unguarded(tc.router, tc.routes...), "without Gate.Wrap: "+name)
		assert.Empty(t, gate.CheckRoutes(tc.routes...), "behind Gate.Wrap: "+name)
		assert.NotEmpty(t, gate.CheckRoutes("GET /other"), name)
	}
}

// The wrong form: gin runs the handler although the gate has refused the request.
func TestGinWrapHFailsOpen(t *testing.T) {
	_, gate := setUp(t)
	e := gin.New()
	e.Use(gin.WrapH(gate.Product("starter")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))))
	e.GET("/echo/:id", func(c *gin.Context) { c.String(http.StatusOK, "secret") })
	found := gatetest.Unguarded(e, "GET /echo/:id")
	require.Len(t, found, 1)
	assert.Contains(t, found[0], "does a handler run after the refusal?")
}
