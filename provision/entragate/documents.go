package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/apim"
	"github.com/entragate/entragate/appaccess/sqlite"
)

func export(ctx context.Context, p *program, s *session) error {
	return p.writeOut(func(w io.Writer) error { return s.service.Export(ctx, operator, w) })
}

// writeOut writes to -out, which is replaced only by the whole output, or to the
// output.
func (p *program) writeOut(write func(io.Writer) error) error {
	if p.outFile == "" {
		return write(p.out)
	}
	var whole bytes.Buffer
	if err := write(&whole); err != nil {
		return err
	}
	if err := replaceFile(p.outFile, whole.Bytes()); err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	return nil
}

// replaceFile writes a file that only its owner reads. If it fails or the process ends
// meanwhile, the file keeps its old content.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".entragate-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// importAPIM makes a products document of an API Management instance. It reads
// only, and writes the document only when every finding that needs a decision
// has one.
func importAPIM(ctx context.Context, p *program) error {
	if (p.apim == "") == (p.files == "") {
		return p.misused("import needs either -apim or -files")
	}
	if p.keys != "" && p.apim == "" {
		return p.misused("-keys needs -apim: files do not hold keys")
	}
	var client *apim.Client
	var instance *apim.Instance
	var err error
	if p.files != "" {
		if _, err := os.ReadDir(p.files); err != nil {
			return fmt.Errorf("-files: %w", err)
		}
		instance, err = apim.ReadFS(os.DirFS(p.files))
	} else {
		if client, err = p.apimClient(); err == nil {
			instance, err = client.Read(ctx)
		}
	}
	if err != nil {
		return err
	}
	plan, err := apim.NewPlan(instance, apim.Options{
		TenantID: p.tenant, Acknowledge: p.acknowledge, LeaveOut: p.leaveOut, AllAccess: p.allAccess, KeepExpiry: p.keepExpiry,
	})
	if err != nil {
		return err
	}
	if p.keys != "" && len(plan.Unacknowledged()) == 0 {
		if err := p.readKeys(ctx, client, plan); err != nil {
			return err
		}
	}
	if p.json {
		enc := json.NewEncoder(p.errOut)
		enc.SetIndent("", "  ")
		err = enc.Encode(plan.Findings)
	} else {
		err = plan.WriteReport(p.errOut)
	}
	if err != nil {
		return err
	}
	d, err := plan.Document()
	if err != nil {
		return err
	}
	return p.writeOut(d.Write)
}

func (p *program) apimClient() (*apim.Client, error) {
	client, err := p.httpClient()
	if err != nil {
		return nil, err
	}
	credential, err := p.azureCredential(client)
	if err != nil {
		return nil, err
	}
	clouds := map[string]cloud.Configuration{"": cloud.AzurePublic, "public": cloud.AzurePublic, "usgov": cloud.AzureGovernment, "china": cloud.AzureChina}
	c, ok := clouds[p.cloud]
	if !ok {
		return nil, fmt.Errorf("-cloud is %q: Azure Resource Manager has public, usgov and china", p.cloud)
	}
	if p.arm != "" {
		c.Services = map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: p.arm, Audience: c.Services[cloud.ResourceManager].Audience}}
	}
	return apim.NewClient(apim.ClientConfig{
		ResourceID: p.apim, Credential: credential,
		Options: arm.ClientOptions{ClientOptions: azcore.ClientOptions{Cloud: c, Transport: client}},
	})
}

// readKeys is the second pass. The file -keys keeps the hashes that were read so far.
func (p *program) readKeys(ctx context.Context, client *apim.Client, plan *apim.Plan) error {
	have := apim.Keys{}
	raw, err := os.ReadFile(p.keys)
	switch {
	case err == nil:
		if err := json.Unmarshal(raw, &have); err != nil {
			return fmt.Errorf("-keys: %s: %w", p.keys, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("-keys: %w", err)
	}
	save := func(k apim.Keys) error {
		raw, err := json.Marshal(k)
		if err != nil {
			return err
		}
		if err := replaceFile(p.keys, raw); err != nil {
			return fmt.Errorf("-keys: %w", err)
		}
		return nil
	}
	last := time.Now()
	keys, err := client.ReadKeys(ctx, plan, apim.ReadKeysConfig{Have: have, Progress: func(done, total int, sofar apim.Keys) {
		if done == total || time.Since(last) > time.Second {
			last = time.Now()
			_ = save(sofar) // the last one, after the loop, reports the error
			if !p.quiet {
				fmt.Fprintf(p.errOut, "keys of %d of %d subscriptions\n", done, total)
			}
		}
	}})
	var denied *apim.KeysDeniedError
	if errors.As(err, &denied) {
		return fmt.Errorf("%w\nCreate this role, and assign it on the instance:\n%s", err, denied.Role())
	}
	if err = errors.Join(err, save(keys)); err != nil {
		return err
	}
	plan.AddKeys(keys)
	return nil
}

// backupCheck opens a copy of a store and reads all of it.
func backupCheck(ctx context.Context, p *program) (err error) {
	dsn := p.args[0]
	if !isPostgres(dsn) {
		dir, err := os.MkdirTemp("", "entragate-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if err := sqlite.Restore(ctx, dsn, filepath.Join(dir, "restored.db")); err != nil {
			return err
		}
		dsn = filepath.Join(dir, "restored.db")
	}
	p.store = dsn
	return with(storeOnly, readAll)(ctx, p)
}

// readAll reads the whole store and prints what it holds.
func readAll(ctx context.Context, p *program, s *session) error {
	if err := s.service.Export(ctx, operator, io.Discard); err != nil {
		return fmt.Errorf("the backup cannot be read completely: %w", err)
	}
	var at appaccess.Position
	var audit []appaccess.Record
	var counts []string
	installed := 0
	err := s.store.View(ctx, func(r appaccess.Reader) (err error) {
		if at, err = r.Position(); err != nil {
			return err
		}
		if audit, err = r.List(appaccess.Query{Kind: appaccess.KindAudit, Descending: true, Limit: 1}); err != nil {
			return err
		}
		for _, of := range []struct {
			kind appaccess.Kind
			name string
		}{
			{appaccess.KindAPI, "APIs"}, {appaccess.KindProduct, "products"}, {appaccess.KindUser, "users"},
			{appaccess.KindApplication, "applications"}, {appaccess.KindSubscription, "subscriptions"},
		} {
			n, err := r.Count(appaccess.Query{Kind: of.kind}, math.MaxInt32)
			if err != nil {
				return err
			}
			counts = append(counts, fmt.Sprintf("%d %s", n, of.name))
		}
		installed, err = r.Count(appaccess.Query{Kind: appaccess.KindInstallation}, appaccess.MaxPage)
		return err
	})
	if err != nil {
		return err
	}
	if at.Revision == 0 {
		return fmt.Errorf("%s is an empty store", p.args[0])
	}
	fmt.Fprintf(p.out, "The backup is complete: revision %d, %s.\n", at.Revision, strings.Join(counts, ", "))
	if len(audit) > 0 {
		var record appaccess.AuditRecord
		if err := json.Unmarshal(audit[0].Body, &record); err == nil {
			fmt.Fprintf(p.out, "Its last audit record is of %s: what was done later is lost with a restore.\n", record.Time.UTC().Format(time.RFC3339))
		}
	}
	if installed == 0 {
		fmt.Fprintln(p.out, "It holds no installation: nothing was made in Entra from this store.")
	}
	return nil
}
