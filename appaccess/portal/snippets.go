package portal

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// snippet is code that calls an API. It never holds a secret: it reads one from
// the environment, and stops with the answer's own text if that is refused.
type snippet struct{ Name, Note, Code string }

// snippetPanel is the part of an application's page that offers snippets.
type snippetPanel struct {
	Targets []target
	Target  string // the chosen product and API
	With    string // token or key
	Items   []snippet
}

// snippetValues are what a snippet is filled with.
type snippetValues struct {
	TenantID, Authority string // Authority is empty for the public cloud
	TokenURL            string
	ClientID            string
	Scope               string
	Method              string
	URL                 string // of an API
	Host                string // of it
	KeyHeader           string // carries a subscription key
}

// unknownHost is the host in snippets where no gateway is configured.
const unknownHost = "your-gateway.example.com"

// newSnippetPanel offers snippets for the API that the query chooses, at first
// for the first product that has an application in Entra. Without client ID
// there is nothing to show yet.
func newSnippetPanel(q url.Values, set appaccess.ApplicationSettings, targets []target) snippetPanel {
	// Azure, not the token endpoint, gives a managed identity its tokens.
	keysOnly := set.Application.ClientKind() == appaccess.ManagedIdentityClient
	usable := slices.DeleteFunc(slices.Clone(targets), func(t target) bool { return t.Product.Scope == "" || keysOnly && !t.Key })
	panel := snippetPanel{Targets: usable, Target: q.Get("target"), With: "token"}
	i := slices.IndexFunc(set.Products, func(p appaccess.ProductSettings) bool { return p.Scope != "" })
	if set.ClientID == "" || i < 0 || keysOnly && len(usable) == 0 {
		return panel
	}
	v := snippetValues{
		TenantID: set.TenantID, TokenURL: set.TokenURL, ClientID: set.ClientID, Method: "GET", KeyHeader: keyHeader,
		Scope: set.Products[i].Scope, Host: unknownHost, URL: "https://" + unknownHost + "/",
	}
	at := slices.IndexFunc(usable, func(t target) bool { return t.Value() == panel.Target })
	if at < 0 {
		at = min(0, len(usable)-1)
	}
	if at >= 0 {
		t := usable[at]
		panel.Target, v.Scope, v.URL, v.KeyHeader = t.Value(), t.Product.Scope, "https://"+unknownHost+t.API.Path, keyHeaderOf(t.API)
		if t.Address != "" {
			v.URL, v.Host = t.Address, hostOf(t.Address)
		}
		if t.Key && (keysOnly || q.Get("with") == "key") {
			panel.With = "key"
		}
	}
	authority, ok := strings.CutSuffix(set.TokenURL, "/"+set.TenantID+"/oauth2/v2.0/token")
	if ok && authority != "https://login.microsoftonline.com" {
		v.Authority = authority
	}
	panel.Items = snippets(v, panel.With)
	return panel
}

// Keys reports whether the chosen API accepts subscription keys, too.
func (s snippetPanel) Keys() bool {
	return slices.ContainsFunc(s.Targets, func(t target) bool { return t.Value() == s.Target && t.Key })
}

func snippets(v snippetValues, with string) []snippet {
	if with == "key" {
		return []snippet{
			{"curl", "For sh, bash and zsh. Export SUBSCRIPTION_KEY first.", curlKeySnippet(v)},
			{"Go", "With the standard library alone.", goKeySnippet(v)},
			{"Python", "With the standard library alone.", pythonKeySnippet(v)},
			{"PowerShell", "For testing. Store the key safely in production.", powershellKeySnippet(v)},
		}
	}
	return []snippet{
		{"Go", "With the package tokenclient, which renews tokens by itself.", goSnippet(v)},
		{"curl", "For sh, bash and zsh. Export CLIENT_SECRET first.", curlSnippet(v)},
		{"Python", "With the standard library alone.", pythonSnippet(v)},
		{"PowerShell", "For testing. Store the secret safely in production.", powershellSnippet(v)},
	}
}

func goSnippet(v snippetValues) string {
	authority := ""
	if v.Authority != "" {
		authority = "\n\t\tAuthority:  " + strconv.Quote(v.Authority) + ","
	}
	return `package main

import (
	"fmt"
	"io"
	"log"
	"net/http"

	"github.com/entragate/entragate/tokenclient"
)

func main() {
	client, err := tokenclient.New(tokenclient.Config{
		TenantID:   ` + strconv.Quote(v.TenantID) + `,
		ClientID:   ` + strconv.Quote(v.ClientID) + `,
		Credential: tokenclient.SecretEnv("CLIENT_SECRET"),` + authority + `
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	// The token goes to this host and to no other.
	api, err := client.Source(` + strconv.Quote(v.Scope) + `).Client(` + strconv.Quote(v.Host) + `)
	if err != nil {
		log.Fatal(err)
	}
	req, err := http.NewRequest(` + strconv.Quote(v.Method) + `, ` + strconv.Quote(v.URL) + `, nil)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := api.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.Status, string(body))
}
`
}

func goKeySnippet(v snippetValues) string {
	return `package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	key := os.Getenv("SUBSCRIPTION_KEY")
	if key == "" {
		log.Fatal("SUBSCRIPTION_KEY is not set")
	}
	req, err := http.NewRequest(` + strconv.Quote(v.Method) + `, ` + strconv.Quote(v.URL) + `, nil)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set(` + strconv.Quote(v.KeyHeader) + `, key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.Status, string(body))
}
`
}

// shell quotes for a POSIX shell.
func shell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// curlSnippet is one command in a subshell, so that a missing variable stops it
// and not the shell that it was pasted into. It has no comment, which zsh takes
// for a command when typed, and the secret and the token are never arguments of
// a program, which others on the machine can read.
func curlSnippet(v snippetValues) string {
	return `(
  set -eu
  : "${CLIENT_SECRET:?is not set: export it first}"
  answer=$(printf %s "$CLIENT_SECRET" | curl -sS ` + shell(v.TokenURL) + ` \
    --data-urlencode grant_type=client_credentials \
    --data-urlencode client_id=` + shell(v.ClientID) + ` \
    --data-urlencode client_secret@- \
    --data-urlencode scope=` + shell(v.Scope) + `)
  token=$(printf %s "$answer" | tr -d '\n' | sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p')
  if [ -z "$token" ]; then
    printf 'No token: %s\n' "$answer" >&2
    exit 1
  fi
  printf 'Authorization: Bearer %s\n' "$token" | curl -sS -X ` + v.Method + ` -H @- -w '\nStatus %{http_code}\n' ` + shell(v.URL) + `
)
`
}

func curlKeySnippet(v snippetValues) string {
	return `(
  set -eu
  : "${SUBSCRIPTION_KEY:?is not set: export it first}"
  printf '` + v.KeyHeader + `: %s\n' "$SUBSCRIPTION_KEY" | curl -sS -X ` + v.Method + ` -H @- -w '\nStatus %{http_code}\n' ` + shell(v.URL) + `
)
`
}

// powershell quotes for PowerShell, which takes typographic quotes for plain
// ones.
func powershell(s string) string {
	return "'" + strings.NewReplacer("'", "''", "\u2018", "\u2018\u2018", "\u2019", "\u2019\u2019", "\u201a", "\u201a\u201a", "\u201b", "\u201b\u201b").Replace(s) + "'"
}

func powershellSnippet(v snippetValues) string {
	return `if (-not $env:CLIENT_SECRET) { throw 'CLIENT_SECRET is not set' }
$body = @{
    grant_type    = 'client_credentials'
    client_id     = ` + powershell(v.ClientID) + `
    client_secret = $env:CLIENT_SECRET
    scope         = ` + powershell(v.Scope) + `
}
try {
    $response = Invoke-RestMethod -Method Post -Uri ` + powershell(v.TokenURL) + ` ` + "`" + `
        -ContentType 'application/x-www-form-urlencoded' -Body $body
} catch {
    throw "No token: $($_.ErrorDetails.Message)"
}

$headers = @{ Authorization = "Bearer $($response.access_token)" }
Invoke-RestMethod -Method ` + v.Method + ` -Uri ` + powershell(v.URL) + ` -Headers $headers
`
}

func powershellKeySnippet(v snippetValues) string {
	return `if (-not $env:SUBSCRIPTION_KEY) { throw 'SUBSCRIPTION_KEY is not set' }
$headers = @{ ` + powershell(v.KeyHeader) + ` = $env:SUBSCRIPTION_KEY }
Invoke-RestMethod -Method ` + v.Method + ` -Uri ` + powershell(v.URL) + ` -Headers $headers
`
}

// python quotes for Python: a JSON string is one of its literals.
func python(s string) string {
	text, _ := json.Marshal(s) // a string always marshals
	return string(text)
}

func pythonSnippet(v snippetValues) string {
	return `import json, os, sys
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

if not os.environ.get("CLIENT_SECRET"):
    sys.exit("CLIENT_SECRET is not set")
form = urlencode({
    "grant_type": "client_credentials",
    "client_id": ` + python(v.ClientID) + `,
    "client_secret": os.environ["CLIENT_SECRET"],
    "scope": ` + python(v.Scope) + `,
}).encode()
try:
    with urlopen(Request(` + python(v.TokenURL) + `, data=form)) as answer:
        token = json.load(answer)["access_token"]
except HTTPError as refused:
    sys.exit("No token: " + refused.read().decode())

request = Request(` + python(v.URL) + `, method=` + python(v.Method) + `, headers={"Authorization": f"Bearer {token}"})
try:
    with urlopen(request) as answer:
        print(answer.status, answer.read().decode())
except HTTPError as refused:
    sys.exit(f"{refused.code} {refused.read().decode()}")
`
}

func pythonKeySnippet(v snippetValues) string {
	return `import os, sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

if not os.environ.get("SUBSCRIPTION_KEY"):
    sys.exit("SUBSCRIPTION_KEY is not set")
request = Request(` + python(v.URL) + `, method=` + python(v.Method) + `, headers={` + python(v.KeyHeader) + `: os.environ["SUBSCRIPTION_KEY"]})
try:
    with urlopen(request) as answer:
        print(answer.status, answer.read().decode())
except HTTPError as refused:
    sys.exit(f"{refused.code} {refused.read().decode()}")
`
}
