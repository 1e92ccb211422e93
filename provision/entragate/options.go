package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// options are the flags of all commands; each command takes some of them.
type options struct {
	store, config, plan, outFile   string
	create, prune, detailed, json  bool
	quiet, show, yes               bool
	cloud, authority, graph, ca    string
	credential, instance           string
	lag                            time.Duration
	installation                   string
	apim, arm, files, keys, tenant string
	acknowledge, leaveOut          list
	allAccess, keepExpiry          bool
	product, application, clientID string
	name, owner                    string
	grant                          list
	lifetime, overlap              time.Duration
	toFile, toCommand, scope       string
	tokenFile, path, method, role  string
	audience                       list
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(v string) error {
	*l = append(*l, v)
	return nil
}

func (o *options) flags(getenv func(string) string) *flag.FlagSet {
	f := flag.NewFlagSet("entragate", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.store, "store", getenv("ENTRAGATE_STORE"), "`DSN` of the store: the path of a SQLite file, or postgres://… (default: $ENTRAGATE_STORE, which keeps a password off the command line)")
	f.BoolVar(&o.create, "create", false, "make the store if it does not exist; without it a missing store is an error")
	f.StringVar(&o.config, "config", "", "products document, a JSON `file`; without it the store's own content is taken")
	f.BoolVar(&o.prune, "prune", false, "delete the objects that a section of the document does not hold")
	f.StringVar(&o.plan, "plan", "", "apply only if the plan still has this `hash`, as plan printed it")
	f.StringVar(&o.outFile, "out", "", "write to this `file` instead of the output; an existing one is replaced")
	f.BoolVar(&o.detailed, "detailed-exitcode", false, "exit with 2 if there are (or were) changes or a request is refused, 0 if not, 1 after an error")
	f.BoolVar(&o.json, "json", false, "print JSON; \"entragate help json\" prints the schema of plan, apply and drift")
	f.BoolVar(&o.quiet, "quiet", false, "print no progress")
	f.StringVar(&o.cloud, "cloud", "", "public (the default), usgov, usgov-dod, china, bleu or delos")
	f.StringVar(&o.authority, "authority", "", "login host, a base `URL`, instead of the cloud's")
	f.StringVar(&o.graph, "graph", "", "base `URL` of Microsoft Graph, without a version, instead of the cloud's")
	f.StringVar(&o.ca, "ca", "", "PEM `file` of certificate authorities to trust besides the system's")
	f.StringVar(&o.credential, "credential", "environment", "where the credential comes from: environment, managed-identity or azure-cli; see \"entragate help credentials\"")
	f.StringVar(&o.instance, "instance", "", "`name` of this installation in the tenant: 1 to 32 of a-z and 0-9; never change it (default \"default\")")
	f.DurationVar(&o.lag, "lag", 2*time.Minute, "the longest `wait` for Entra's replicas to show a recent change")
	f.StringVar(&o.installation, "installation", "", "`ID` of the installation to take over, if the tenant has several")
	f.StringVar(&o.apim, "apim", "", "resource `ID` of a live API Management instance: /subscriptions/…/service/NAME")
	f.StringVar(&o.arm, "arm", "", "base `URL` of Azure Resource Manager instead of the cloud's")
	f.StringVar(&o.files, "files", "", "`folder` of saved REST answers, ARM templates or APIOps artifacts")
	f.StringVar(&o.keys, "keys", "", "second pass: read the subscription keys too; their hashes go to this `file`, from which an interrupted run continues")
	f.StringVar(&o.tenant, "tenant", getenv("AZURE_TENANT_ID"), "Entra tenant `ID` (default: $AZURE_TENANT_ID)")
	f.Var(&o.acknowledge, "acknowledge", "accept the finding with this `ID`; repeat it for several")
	f.Var(&o.leaveOut, "leave-out", "do not import this `object`, such as apis/echo; repeat it for several")
	f.BoolVar(&o.allAccess, "all-access", false, "import the built-in all-access subscription, whose key opens every API")
	f.BoolVar(&o.keepExpiry, "keep-expiry", false, "carry end dates of subscriptions, which API Management does not enforce")
	f.StringVar(&o.product, "product", "", "`ID` of the product")
	f.StringVar(&o.application, "application", "", "`ID` of the client application")
	f.StringVar(&o.clientID, "client-id", "", "application (client) `ID` in Entra")
	f.StringVar(&o.name, "name", "", "display `name`")
	f.StringVar(&o.owner, "owner", "", "`ID` of the user who owns the application")
	f.Var(&o.grant, "grant", "`product` to grant, with all permissions; repeat it for several")
	f.BoolVar(&o.yes, "yes", false, "do it; without it the plan is printed and nothing is written")
	f.DurationVar(&o.lifetime, "lifetime", 0, "how long the secret is valid, 1h to 8760h (default 8760h)")
	f.DurationVar(&o.overlap, "overlap", 24*time.Hour, "how long the old secrets stay valid")
	f.StringVar(&o.toFile, "to-file", "", "write the value to this new `file`, readable by its owner only")
	f.StringVar(&o.toCommand, "to-command", "", "run this shell `command` with the value on its standard input")
	f.BoolVar(&o.show, "show", false, "print the value")
	f.StringVar(&o.scope, "scope", "", "`scope` to ask for: api://<product's client ID>/.default")
	f.StringVar(&o.tokenFile, "token-file", "-", "`file` with the token; - is the standard input")
	f.StringVar(&o.path, "path", "", "`path` of the request, such as /echo/resource")
	f.StringVar(&o.method, "method", "GET", "HTTP `method` of the request")
	f.StringVar(&o.role, "role", "", "app role `value` that the token must carry, without a store")
	f.Var(&o.audience, "audience", "`audience` that the token must have, without a store; repeat it for several")
	return f
}

// parse reads a command line: flags may come before and after the command.
func (p *program) parse(args []string) (*command, error) {
	flags := p.flags(p.getenv)
	var words []string
	if asks := func(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }; slices.ContainsFunc(args, asks) {
		words, args = []string{"help"}, slices.DeleteFunc(slices.Clone(args), asks)
	}
	for len(args) > 0 {
		if err := flags.Parse(args); err != nil {
			return nil, &usageError{strings.Join(words, " "), errors.New(strings.Replace(err.Error(), "flag provided but not defined: ", "there is no flag ", 1))}
		}
		consumed := args[:len(args)-flags.NArg()]
		args = flags.Args()
		if len(consumed) > 0 && consumed[len(consumed)-1] == "--" {
			words = append(words, args...)
			break
		}
		if len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	c, rest, err := find(words)
	if err != nil {
		return nil, err
	}
	p.command, p.args = c.name, rest
	var wrong error
	flags.Visit(func(f *flag.Flag) {
		if c.name != "help" && !slices.Contains(c.flags, f.Name) && wrong == nil {
			wrong = p.misused("%s has no flag -%s", c.name, f.Name)
		}
	})
	switch {
	case wrong != nil:
	case len(rest) > len(c.args):
		wrong = p.misused("%s does not take %q", c.name, rest[len(c.args)])
	case len(rest) < len(c.args) && !strings.HasPrefix(c.args[len(rest)], "["):
		wrong = p.misused("%s needs %s", c.name, c.args[len(rest)])
	case c.required != "" && flags.Lookup(c.required).Value.String() == "":
		wrong = p.misused("%s needs -%s%s", c.name, c.required, c.why)
	}
	return c, wrong
}

// find finds the command that words begin with.
func find(words []string) (*command, []string, error) {
	if len(words) == 0 {
		words = []string{"help"}
	}
	for n := min(2, len(words)); n > 0; n-- {
		name := strings.Join(words[:n], " ")
		for i := range commands {
			if commands[i].name == name {
				return &commands[i], words[n:], nil
			}
		}
	}
	var inner []string
	for _, c := range commands {
		if strings.HasPrefix(c.name, words[0]+" ") {
			inner = append(inner, c.name)
		}
	}
	if len(inner) > 0 {
		return nil, nil, &usageError{words[0], fmt.Errorf("%q is not a command: there are %s", strings.Join(words[:min(2, len(words))], " "), strings.Join(inner, ", "))}
	}
	return nil, nil, &usageError{"", fmt.Errorf("%q is not a command", words[0])}
}
