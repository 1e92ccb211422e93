package portal

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// snippet is code that gets a token and calls an API. It never holds a secret:
// it reads one from the environment.
type snippet struct{ Name, Note, Code string }

// values are what a snippet is filled with.
type values struct {
	TenantID, Authority string // Authority is empty for the public cloud
	TokenURL            string
	ClientID            string
	Scope               string
	URL                 string // of an API
	Host                string // of it
}

// snippetValues takes the first product that Entra has, and its first API. It
// reports false if there is nothing to show yet.
func snippetValues(set appaccess.ApplicationSettings, targets []target) (values, bool) {
	i := slices.IndexFunc(set.Products, func(p appaccess.ProductSettings) bool { return p.Scope != "" })
	if set.ClientID == "" || i < 0 {
		return values{}, false
	}
	v := values{
		TenantID: set.TenantID, TokenURL: set.TokenURL, ClientID: set.ClientID,
		Host: "your-gateway.example.com",
	}
	first := set.Products[i]
	v.Scope, v.URL = first.Scope, "https://"+v.Host+"/"
	for _, t := range targets {
		if t.Product.ID == first.ID {
			v.URL = "https://" + v.Host + t.API.Path
			if t.Address != "" {
				v.URL, v.Host = t.Address, hostOf(t.Address)
			}
			break
		}
	}
	authority, ok := strings.CutSuffix(set.TokenURL, "/"+set.TenantID+"/oauth2/v2.0/token")
	if ok && authority != "https://login.microsoftonline.com" {
		v.Authority = authority
	}
	return v, true
}

func snippets(v values) []snippet {
	return []snippet{
		{"Go", "With the package tokenclient, which keeps tokens fresh by itself.", goSnippet(v)},
		{"curl", "The secret comes from the variable CLIENT_SECRET. Needs jq.", curlSnippet(v)},
		{"PowerShell", "For testing. Store the secret safely in production.", powershellSnippet(v)},
		{"Python", "With the standard library alone.", pythonSnippet(v)},
	}
}

func goSnippet(v values) string {
	authority := ""
	if v.Authority != "" {
		authority = "\n\t\tAuthority:  " + strconv.Quote(v.Authority) + ","
	}
	return `package main

import (
	"fmt"
	"io"
	"log"

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
	resp, err := api.Get(` + strconv.Quote(v.URL) + `)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.Status, string(body), err)
}
`
}

// shell quotes for a POSIX shell.
func shell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func curlSnippet(v values) string {
	return `read -rsp 'Client secret: ' CLIENT_SECRET

TOKEN=$(printf %s "$CLIENT_SECRET" | curl -sS ` + shell(v.TokenURL) + ` \
  --data-urlencode grant_type=client_credentials \
  --data-urlencode client_id=` + shell(v.ClientID) + ` \
  --data-urlencode client_secret@- \
  --data-urlencode scope=` + shell(v.Scope) + ` | jq -r .access_token)

curl -sS -H @- ` + shell(v.URL) + ` <<< "Authorization: Bearer $TOKEN"
`
}

// powershell quotes for PowerShell, which takes typographic quotes for plain
// ones.
func powershell(s string) string {
	return "'" + strings.NewReplacer("'", "''", "\u2018", "\u2018\u2018", "\u2019", "\u2019\u2019", "\u201a", "\u201a\u201a", "\u201b", "\u201b\u201b").Replace(s) + "'"
}

func powershellSnippet(v values) string {
	return `$clientId     = ` + powershell(v.ClientID) + `
$clientSecret = $env:CLIENT_SECRET
$scope        = ` + powershell(v.Scope) + `

$body = @{
    grant_type    = 'client_credentials'
    client_id     = $clientId
    client_secret = $clientSecret
    scope         = $scope
}
$response = Invoke-RestMethod -Method Post -Uri ` + powershell(v.TokenURL) + ` ` + "`" + `
    -ContentType 'application/x-www-form-urlencoded' -Body $body

$headers = @{ Authorization = "Bearer $($response.access_token)" }
Invoke-RestMethod -Method Get -Uri ` + powershell(v.URL) + ` -Headers $headers
`
}

// python quotes for Python: a JSON string is one of its literals.
func python(s string) string {
	text, _ := json.Marshal(s) // a string always marshals
	return string(text)
}

func pythonSnippet(v values) string {
	return `import json, os
from urllib.parse import urlencode
from urllib.request import Request, urlopen

form = urlencode({
    "grant_type": "client_credentials",
    "client_id": ` + python(v.ClientID) + `,
    "client_secret": os.environ["CLIENT_SECRET"],
    "scope": ` + python(v.Scope) + `,
}).encode()
with urlopen(Request(` + python(v.TokenURL) + `, data=form)) as answer:
    token = json.load(answer)["access_token"]

request = Request(` + python(v.URL) + `, headers={"Authorization": f"Bearer {token}"})
with urlopen(request) as answer:
    print(answer.status, answer.read().decode())
`
}
