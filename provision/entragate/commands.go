package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// command is one command with its help.
type command struct {
	name     string
	args     []string // what follows the name; in brackets: may be left out
	summary  string
	help     string
	flags    []string
	required string // the flag that must be given; empty: none
	why      string // follows the required flag in the error
	graceful bool   // the first interrupt stops it between objects
	run      func(context.Context, *program) error
}

// Flags that several commands take.
var (
	storeFlags  = []string{"store"}
	entraFlags  = []string{"cloud", "authority", "graph", "ca", "credential", "instance", "lag"}
	documentOf  = []string{"config", "prune"}
	outputFlags = []string{"json", "quiet"}
	valueFlags  = []string{"to-file", "to-command", "show"}
)

// commands are all commands, in the order of help. init fills it, because help
// prints it.
var commands []command

func init() {
	commands = []command{
		{
			name: "plan", summary: "show everything that apply would do", run: with(readOnly, plan),
			flags: slices.Concat(storeFlags, []string{"create"}, documentOf, entraFlags, outputFlags, []string{"detailed-exitcode"}),
			help: `Plan compares the products document with the store and the store with Entra,
and prints every change to either in the order in which apply makes it. It
writes nothing. The last line is the plan's hash, for apply -plan.`,
		},
		{
			name: "apply", summary: "make the store what the document says, and Entra what the store says", run: with(readWrite, apply), graceful: true,
			flags: slices.Concat(storeFlags, []string{"create"}, documentOf, entraFlags, outputFlags, []string{"plan", "detailed-exitcode"}),
			help: `Apply plans first, and then takes the steps of the plan in its order. With
-plan HASH it writes nothing if the plan is no longer the one that plan printed.
Without -config it makes Entra match the store: it undoes drift.

Interrupt (Ctrl-C) stops after the objects that are under way; a second one
stops at once. In both cases another apply continues: no object is made twice.

A new subscription gets keys that nobody sees, unless the document brings the
hashes of keys that its caller has.`,
		},
		{
			name: "drift", summary: "show what others changed since the last apply", run: with(readOnly, drift),
			flags: slices.Concat(storeFlags, documentOf, entraFlags, outputFlags, []string{"detailed-exitcode"}),
			help: `Drift prints what somebody changed in Entra by hand, objects of this
installation in Entra that the store does not know, and, with -config, what
differs between the store and the document. It writes nothing.`,
		},
		{
			name: "preflight", summary: "check what the identity may do in Entra", run: preflight,
			flags: slices.Concat(entraFlags, []string{"json", "quiet"}),
			help: `Preflight checks the credential, its rights and what is missing, and says who can
grant it. It needs no store and writes nothing.`,
		},
		{
			name: "export", summary: "write the store as a products document", run: with(storeOnly, export),
			flags: slices.Concat(storeFlags, []string{"out"}),
			help: `Export writes the configuration as the JSON document that plan and apply read.
It holds no secret, no key and no hash of a key.`,
		},
		{
			name: "import", summary: "make a products document of an API Management instance", run: importAPIM,
			flags: []string{"apim", "arm", "files", "keys", "tenant", "acknowledge", "leave-out", "all-access", "keep-expiry", "out", "cloud", "authority", "ca", "credential", "json", "quiet"},
			help: `Import reads a live instance (-apim, which needs the role "API Management Service
Reader Role") or files (-files) and prints a report of everything that entragate
does differently. A finding that opens access must be acknowledged by its ID.
Then the document is written to -out or the output; plan and apply take it from
there. Nothing is written to API Management.

-keys adds the second pass: the subscription keys, for which a role of its own is
needed that an error prints. Only their SHA-256 is kept. Callers keep their keys,
client IDs and secrets.`,
		},
		{
			name: "takeover", summary: "recover the objects in Entra of a lost store", run: with(readWrite, takeOver),
			required: "config", why: ": the document names what the lost store knew",
			flags: slices.Concat(storeFlags, []string{"create", "config", "installation"}, entraFlags, outputFlags),
			help: `Takeover records in a new store (-create) the applications in Entra that a lost
store had made for the objects of the document. It writes nothing to Entra. Look
through the list that it prints, because nothing proves who made them. Then run
plan and apply: apply removes the secrets that the lost store knew, and their
owners need new ones.`,
		},
		{
			name: "adopt", summary: "put an existing app registration under management", run: adopt, graceful: true,
			flags: slices.Concat(storeFlags, []string{"product", "application", "client-id", "name", "owner", "grant", "yes", "plan"}, entraFlags, []string{"quiet"}),
			help: `Adopt makes an app registration that exists in Entra the application of a product
(-product, which gets token access) or of a new client application
(-application, -name, -owner, -grant). Its client ID and its secrets stay. Without
-yes it prints the plan and writes nothing.`,
		},
		{
			name: "secret add", summary: "make a client secret", run: secretAdd, required: "application",
			flags: slices.Concat(storeFlags, []string{"application", "name", "lifetime"}, valueFlags, entraFlags),
			help: `The value goes to a new file, to the standard input of a command, or with -show to
the output, this once. If it cannot be delivered, the secret is removed again.

  entragate secret add -application billing -to-command 'vault kv put secret/billing value=-'`,
		},
		{
			name: "secret list", summary: "list an application's credentials, without values", run: with(storeOnly, secretList), required: "application",
			flags: slices.Concat(storeFlags, []string{"application", "json"}),
			help:  `The store is read; Entra is not contacted.`,
		},
		{
			name: "secret rotate", summary: "make a client secret that replaces the others", run: secretRotate, required: "application",
			flags: slices.Concat(storeFlags, []string{"application", "name", "lifetime", "overlap"}, valueFlags, entraFlags),
			help: `The others stay valid for -overlap. A later apply, or the service's Run, removes
them from Entra. The value is delivered as by secret add.`,
		},
		{
			name: "secret remove", args: []string{"ID"}, summary: "remove a credential", run: with(readWrite, secretRemove), required: "application",
			flags: slices.Concat(storeFlags, []string{"application"}, entraFlags),
			help: `The ID is the one that secret list prints. To end access at once, suspend the
application too: issued tokens stay valid until they expire.`,
		},
		{
			name: "token", summary: "get a token as a client application, and show its claims", run: token,
			required: "scope", why: ": api://<the product's client ID>/.default",
			flags: slices.Concat([]string{"scope", "tenant", "client-id", "cloud", "authority", "ca"}, valueFlags),
			help: `The credential is the client application's own, in the environment: see
"entragate help credentials". The header and the claims are printed without the
signature, so that the output cannot be used as a token. -to-file, -to-command
and -show give the token itself.`,
		},
		{
			name: "explain", summary: "say why a token is refused", run: explain,
			flags: slices.Concat(storeFlags, []string{"token-file", "product", "path", "method", "tenant", "audience", "role", "cloud", "authority", "ca", "json", "detailed-exitcode"}),
			help: `Explain decides on a request with the token as a gate would, and names the
comparison that fails. What the gate protects comes from the store, or without
one from -audience and -role. The signing keys are fetched from the tenant.

  entragate token -scope api://…/.default -to-command 'entragate explain -store access.db -product starter'`,
		},
		{
			name: "backup check", args: []string{"BACKUP"}, summary: "check that a backup can be restored", run: backupCheck,
			help: `BACKUP is a file that sqlite's Store.Backup made, or the DSN of a PostgreSQL
database into which a dump was restored. Everything in it is read. A file is
restored to a temporary folder.`,
		},
		{name: "version", summary: "print the version", run: version, help: `The version of the module and the commit that it was built from.`},
		{name: "help", args: []string{"[COMMAND]", "[WORD]"}, summary: "describe a command, or: credentials, document, json", run: help, help: `Without a command it lists all.`},
	}
}

const credentialsHelp = `Credentials come from the environment, as for Azure's tools:

  AZURE_TENANT_ID, AZURE_CLIENT_ID     the tenant and the application
  AZURE_CLIENT_SECRET                  its secret, or
  AZURE_CLIENT_CERTIFICATE_PATH        a PEM or PFX file with certificate and key
                                       (AZURE_CLIENT_CERTIFICATE_PASSWORD), or
  AZURE_FEDERATED_TOKEN_FILE           an assertion, as workload identity mounts it

-credential managed-identity takes the managed identity of the machine
(AZURE_CLIENT_ID chooses one that is user-assigned), -credential azure-cli the
account that is signed in with "az login".

plan, apply, drift, takeover, adopt and secret need the Entra role Application
Administrator, or the Graph permissions that "entragate preflight" names. token
takes the credential of a client application.
`

func help(_ context.Context, p *program) error {
	words := strings.Join(p.args, " ")
	switch words {
	case "":
		fmt.Fprint(p.out, "entragate manages products, client applications and their objects in Microsoft Entra.\n\nUse: entragate COMMAND [flags]\n\n")
		for _, c := range commands {
			fmt.Fprintf(p.out, "  %-14s %s\n", c.name, c.summary)
		}
		fmt.Fprint(p.out, "\nFlags may come before and after the command. \"entragate help COMMAND\" lists those of a command.\nExit codes: 0 success, 1 error; with -detailed-exitcode 2 means changes.\n")
		return nil
	case "credentials":
		fmt.Fprint(p.out, credentialsHelp)
		return nil
	case "json":
		fmt.Fprint(p.out, outputSchema)
		return nil
	case "document":
		fmt.Fprint(p.out, appaccess.DocumentSchema())
		return nil
	}
	c, rest, err := find(p.args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return p.misused("%q is not a command", words)
	}
	use := append([]string{"entragate", c.name}, c.args...)
	fmt.Fprintf(p.out, "%s: %s\n\nUse: %s [flags]\n\n%s\n", c.name, c.summary, strings.Join(use, " "), c.help)
	if len(c.flags) > 0 {
		fmt.Fprintln(p.out, "\nFlags:")
	}
	var o options
	o.flags(func(string) string { return "" }).VisitAll(func(f *flag.Flag) {
		if !slices.Contains(c.flags, f.Name) {
			return
		}
		value, usage := flag.UnquoteUsage(f)
		if _, isList := f.Value.(*list); isList && value == "value" {
			value = "string"
		}
		fmt.Fprintf(p.out, "  %s\n        %s", strings.TrimSpace("-"+f.Name+" "+value), usage)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0s" && !strings.Contains(usage, "(default") {
			fmt.Fprintf(p.out, " (default %s)", f.DefValue)
		}
		fmt.Fprintln(p.out)
	})
	return nil
}
