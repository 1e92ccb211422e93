package tokenclient_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/entragate/entragate/tokenclient"
)

// A service whose client secret is mounted as a file. The file may be replaced
// at any time: it is read again for each fetch.
func ExampleNew_secretFile() {
	login, api, secretFile, stop := exampleWorld()
	defer stop()

	client, err := tokenclient.New(tokenclient.Config{
		TenantID:   "0f6b6a5e-8a0b-4c57-9d5f-0d4f3a1b2c3d",
		ClientID:   "5d3f9a52-1a5d-4e0b-9a51-2f7b7f3f4c11",
		Credential: tokenclient.SecretFile(secretFile),
		Authority:  login, // leave it out for Entra's public cloud
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	source := client.Source("api://2e1c0d6a-5b7e-4c39-8b8e-7a3b9e0d1f22/.default")
	httpClient, err := source.Client(strings.TrimPrefix(api, "http://")) // for example "api.contoso.com"
	if err != nil {
		log.Fatal(err)
	}
	httpClient.Timeout = 30 * time.Second // else a hung API is waited for without end
	resp, err := httpClient.Get(api + "/echo")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(body), err)
	// Output: 200 hello, known caller <nil>
}

// A pod with workload identity on Kubernetes: no secret at all, and the
// environment that the platform sets.
func ExampleNew_workloadIdentity() {
	login, _, assertionFile, stop := exampleWorld()
	defer stop()
	os.Setenv("AZURE_TENANT_ID", "0f6b6a5e-8a0b-4c57-9d5f-0d4f3a1b2c3d")
	os.Setenv("AZURE_CLIENT_ID", "5d3f9a52-1a5d-4e0b-9a51-2f7b7f3f4c11")
	os.Setenv("AZURE_AUTHORITY_HOST", login)
	os.Setenv("AZURE_FEDERATED_TOKEN_FILE", strings.TrimSuffix(assertionFile, "secret")+"assertion")

	client, err := tokenclient.New(tokenclient.Config{
		TenantID:   os.Getenv("AZURE_TENANT_ID"),
		ClientID:   os.Getenv("AZURE_CLIENT_ID"),
		Authority:  os.Getenv("AZURE_AUTHORITY_HOST"),
		Credential: tokenclient.AssertionFile(os.Getenv("AZURE_FEDERATED_TOKEN_FILE")),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	token, err := client.Source("api://2e1c0d6a-5b7e-4c39-8b8e-7a3b9e0d1f22/.default").Token(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.Scope(), time.Until(token.Expires()).Round(time.Hour))
	// Output: api://2e1c0d6a-5b7e-4c39-8b8e-7a3b9e0d1f22/.default 1h0m0s
}

// A service with a certificate, which learns in time that it is about to end.
func ExampleNew_certificate() {
	login, _, secretFile, stop := exampleWorld()
	defer stop()
	pemFile := strings.TrimSuffix(secretFile, "secret") + "caller.pem"

	client, err := tokenclient.New(tokenclient.Config{
		TenantID:   "0f6b6a5e-8a0b-4c57-9d5f-0d4f3a1b2c3d",
		ClientID:   "5d3f9a52-1a5d-4e0b-9a51-2f7b7f3f4c11",
		Credential: tokenclient.CertificateFile(pemFile, pemFile),
		Authority:  login,
		OnExpiring: func(e tokenclient.Expiring) {
			fmt.Println("renew soon: the credential ends in", time.Until(e.At).Round(24*time.Hour))
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	token, err := client.Source("api://2e1c0d6a-5b7e-4c39-8b8e-7a3b9e0d1f22/.default").Token(context.Background())
	fmt.Println(token != nil, err)
	// Output:
	// renew soon: the credential ends in 168h0m0s
	// true <nil>
}

// What went wrong is in the error's fields; its text is for operators.
func ExampleError() {
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"invalid_client","error_codes":[7000222],"correlation_id":"2c1f",
			"error_description":"AADSTS7000222: The provided client secret keys are expired."}`)
	}))
	defer login.Close()
	client, err := tokenclient.New(tokenclient.Config{
		TenantID: "0f6b6a5e-8a0b-4c57-9d5f-0d4f3a1b2c3d", ClientID: "5d3f9a52-1a5d-4e0b-9a51-2f7b7f3f4c11",
		Credential: tokenclient.Secret("last-years"), Authority: login.URL,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	_, err = client.Source("api://2e1c0d6a-5b7e-4c39-8b8e-7a3b9e0d1f22/.default").Token(context.Background())
	var e *tokenclient.Error
	if errors.As(err, &e) {
		fmt.Println(e.AADSTS, e.Code, e.Retryable, e.CorrelationID)
		fmt.Println(e.Advice)
	}
	// Output:
	// 7000222 invalid_client false 2c1f
	// the client secret or certificate has expired: make a new one and replace it here
}

// Two secrets while one replaces the other: whichever Entra takes is used.
func ExampleConfig_fallback() {
	login, _, _, stop := exampleWorld()
	defer stop()
	client, err := tokenclient.New(tokenclient.Config{
		TenantID: "0f6b6a5e-8a0b-4c57-9d5f-0d4f3a1b2c3d", ClientID: "5d3f9a52-1a5d-4e0b-9a51-2f7b7f3f4c11",
		Authority:  login,
		Credential: tokenclient.Secret("the old one"),
		Fallback:   tokenclient.Secret("secret-of-the-file"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	_, err = client.Source("api://2e1c0d6a-5b7e-4c39-8b8e-7a3b9e0d1f22/.default").Token(context.Background())
	fmt.Println(err)
	// Output: <nil>
}

// A unit test of code that uses a Source needs no network and no tenant: the
// HTTP client answers by itself, for the token endpoint as well as for the API.
func ExampleSource_unitTest() {
	network := &http.Client{Transport: fakeNetwork(func(r *http.Request) string {
		if strings.HasSuffix(r.URL.Path, "/token") {
			return `{"access_token": "test-token", "token_type": "Bearer", "expires_in": 3600}`
		}
		return "order 7, asked for with " + r.Header.Get("Authorization")
	})}
	client, err := tokenclient.New(tokenclient.Config{
		TenantID:   "0f6b6a5e-8a0b-4c57-9d5f-0d4f3a1b2c3d",
		ClientID:   "5d3f9a52-1a5d-4e0b-9a51-2f7b7f3f4c11",
		Credential: tokenclient.Secret("any"),
		HTTPClient: network, // token requests and API calls
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	api, err := client.Source("api://2e1c0d6a-5b7e-4c39-8b8e-7a3b9e0d1f22/.default").Client("api.contoso.com")
	if err != nil {
		log.Fatal(err)
	}
	resp, err := api.Get("https://api.contoso.com/orders/7")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(body))
	// Output: order 7, asked for with Bearer test-token
}

// fakeNetwork answers each request with 200 and a text.
type fakeNetwork func(*http.Request) string

func (f fakeNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(f(r))), Request: r}, nil
}

// A subscription key instead of a token.
func ExampleNewTransport_subscriptionKey() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Ocp-Apim-Subscription-Key") != "")
	}))
	defer api.Close()
	os.Setenv("ECHO_SUBSCRIPTION_KEY", "6d1f0c")

	transport, err := tokenclient.NewTransport(tokenclient.TransportConfig{
		Hosts:           []string{strings.TrimPrefix(api.URL, "http://")},
		SubscriptionKey: tokenclient.SecretEnv("ECHO_SUBSCRIPTION_KEY"),
	})
	if err != nil {
		log.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Get(api.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	if err := tokenclient.CheckResponse(resp); err != nil { // a readable 401 or 403
		log.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	fmt.Println(string(body), err)
	// Output: true <nil>
}

// exampleWorld is a login server that knows one secret, an API that greets, and
// the files of a caller: secret, assertion and caller.pem.
func exampleWorld() (login, api, secretFile string, stop func()) {
	dir, err := os.MkdirTemp("", "tokenclient")
	must(err)
	for name, content := range map[string]string{
		"secret": "secret-of-the-file\n", "assertion": "e30.e30.c2ln", "caller.pem": examplePEM(),
	} {
		must(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	l := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		must(r.ParseForm())
		secret := r.PostForm.Get("client_secret")
		if secret != "secret-of-the-file" && r.PostForm.Get("client_assertion") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_client","error_codes":[7000215]}`)
			return
		}
		fmt.Fprint(w, `{"token_type":"Bearer","expires_in":3599,"access_token":"a-token"}`)
	}))
	a := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer a-token" {
			fmt.Fprint(w, "hello, known caller")
		}
	}))
	return l.URL, a.URL, filepath.Join(dir, "secret"), func() {
		l.Close()
		a.Close()
		must(os.RemoveAll(dir))
	}
}

func examplePEM() string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "caller"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(7 * 24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
