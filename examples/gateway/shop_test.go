package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/middleware"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

var manager = appaccess.Manager("test")

// shop is a gateway that listens, in front of APIs that one subscription key
// opens.
type shop struct {
	*gateway
	store   appaccess.Store
	service *appaccess.Service
	address string // host and port of the gateway
	key     string
	client  *http.Client
}

// openShop serves APIs at /{id}, which are keys of apis, from the service URLs
// that are its values. change, if not nil, changes the gateway's options.
func openShop(t testing.TB, apis map[string]string, change func(*options)) *shop {
	t.Helper()
	ctx := t.Context()
	s := &shop{client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(s.client.CloseIdleConnections)
	store, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "gateway.db"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	s.store = store
	s.service, err = appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store})
	require.NoError(t, err)
	s.key = sell(t, s.service, apis)
	tenant, err := entratest.New(entratest.Config{})
	require.NoError(t, err)
	o := options{Store: store, Gate: middleware.Config{
		Tenants: []string{tenant.ID()}, Authority: tenant.BaseURL(), HTTPClient: &http.Client{Transport: tenant.Transport()},
	}}
	if change != nil {
		change(&o)
	}
	s.gateway, err = open(ctx, o)
	require.NoError(t, err)
	t.Cleanup(s.close)
	s.address = listen(t, newServer(s.gateway))
	require.NoError(t, s.gate.Ready(ctx))
	return s
}

// sell registers APIs in one product and makes a key for it.
func sell(t testing.TB, service *appaccess.Service, apis map[string]string) string {
	t.Helper()
	ctx := t.Context()
	if len(apis) == 0 {
		return ""
	}
	var ids []string
	for id, url := range apis {
		_, err := service.CreateAPI(ctx, manager, appaccess.APIRequest{ID: id, Name: id, Path: "/" + id, ServiceURL: url})
		require.NoError(t, err)
		ids = append(ids, id)
	}
	_, err := service.CreateProduct(ctx, manager, appaccess.ProductRequest{ID: "shop", Name: "Shop", Access: appaccess.Access{Key: true}, APIs: ids, Published: true})
	require.NoError(t, err)
	issued, err := service.CreateSubscription(ctx, manager, appaccess.SubscriptionRequest{ID: "sub", Name: "Sub", Scope: appaccess.ProductScope("shop")})
	require.NoError(t, err)
	return issued.Primary.Reveal()
}

// listen serves on loopback until the test ends.
func listen(t testing.TB, server *http.Server) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

// raw sends bytes as they are and returns the connection and the answer to them.
func (s *shop) raw(t testing.TB, request string) (net.Conn, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	return conn, resp
}

// get is a GET with the key and more headers, name by name.
func (s *shop) get(t testing.TB, path string, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.address+path, nil)
	require.NoError(t, err)
	r.Header.Set("Ocp-Apim-Subscription-Key", s.key)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := s.client.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// program finds a program of another project, and skips the test without it.
func program(t testing.TB, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("ENTRAGATE_TEST_REQUIRE") == "1" {
			t.Fatalf("%s is not installed: apt-get install %s", name, debian)
		}
		t.Skipf("%s is not installed: apt-get install %s", name, debian)
	}
	return path
}

// hypercorn runs testdata/backend.py, a server that is not written in Go and
// that switches to HTTP/2 when asked. It returns its address.
func hypercorn(t testing.TB) string {
	t.Helper()
	path := program(t, "hypercorn", "python3-hypercorn")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	cmd := exec.Command(path, "--bind", address, "--graceful-timeout", "0", "--log-level", "critical", "backend:app")
	cmd.Dir, cmd.Env = "testdata", append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // ends its worker, too
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			t.Error("hypercorn does not end")
		}
	})
	require.Eventually(t, func() bool {
		select {
		case <-ended:
			t.Errorf("hypercorn ended: %s", output.String())
			return true
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	return address
}

// A test waits at most patience, and looks every tick, until the gateway has seen a
// change.
const (
	patience = 30 * time.Second
	tick     = 5 * time.Millisecond
)

// tokenShop is a gateway in front of /orders, which a key and the tokens of one
// client open.
type tokenShop struct {
	*gateway
	service *appaccess.Service
	tenant  *entratest.Server
	key     string
	claims  map[string]any // of a token of the client app
}

func openTokenShop(t testing.TB, serviceURL string, change func(*options)) *tokenShop {
	t.Helper()
	ctx := t.Context()
	s := &tokenShop{tenant: entratest.NewPlainServer(t, entratest.Config{})}
	identity, err := s.tenant.AddCaller("gateway", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	store, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "gateway.db"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	engine, err := provision.New(provision.Config{Directory: s.tenant.Directory(identity), Store: store})
	require.NoError(t, err)
	s.service, err = appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store, Provisioner: engine, TenantID: s.tenant.ID(), Authority: s.tenant.BaseURL()})
	require.NoError(t, err)
	s.key = sell(t, s.service, map[string]string{"orders": serviceURL})
	product, err := s.service.SetAccess(ctx, manager, "shop", appaccess.AccessRequest{Access: appaccess.Access{Token: true, Key: true}})
	require.NoError(t, err)
	_, err = s.service.CreateUser(ctx, manager, appaccess.UserRequest{ID: "ada", Name: "Ada"})
	require.NoError(t, err)
	app, err := s.service.RegisterApplication(ctx, manager, appaccess.ApplicationRequest{ID: "app", Name: "App", OwnerID: "ada", Grants: appaccess.GrantsOfAll("shop")})
	require.NoError(t, err)
	s.claims, err = s.tenant.AppClaims(app.Entra.AppID, product.Entra.AppID)
	require.NoError(t, err)
	o := options{Store: store, Gate: middleware.Config{Tenants: []string{s.tenant.ID()}, Authority: s.tenant.BaseURL()}}
	if change != nil {
		change(&o)
	}
	s.gateway, err = open(ctx, o)
	require.NoError(t, err)
	t.Cleanup(s.close)
	require.NoError(t, s.gate.Ready(ctx))
	require.Eventually(t, func() bool {
		r := httptest.NewRequest(http.MethodGet, "/orders/x", nil)
		r.Header.Set("Authorization", "Bearer "+s.tenant.MintToken(s.claims, nil))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code == http.StatusOK
	}, patience, 10*time.Millisecond)
	return s
}

// express runs testdata/express.js, an API whose paths ignore letter case. It
// returns its URL.
func express(t testing.TB) string {
	t.Helper()
	node := program(t, "node", "nodejs")
	if exec.Command(node, "-e", "require.resolve('express')").Run() != nil {
		const missing = "express is not installed where NODE_PATH leads: npm ci in .ci/npm"
		if os.Getenv("ENTRAGATE_TEST_REQUIRE") == "1" && os.Getenv("ENTRAGATE_TEST_FOREIGN") != "skip" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	cmd := exec.CommandContext(t.Context(), node, "testdata/express.js")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() }) // the test's context has ended it
	port, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return "http://127.0.0.1:" + strings.TrimSpace(port)
}
