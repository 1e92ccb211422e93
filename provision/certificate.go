package provision

import (
	"bytes"
	"context"
	"crypto/sha1" // Entra's customKeyIdentifier is a SHA-1 thumbprint
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/entragate/entragate/appaccess"
)

// defaultAudience is what Entra asks for in assertions of other issuers.
const defaultAudience = "api://AzureADTokenExchange"

// draft is a credential request that was checked.
type draft struct {
	credential appaccess.Credential
	cert       *x509.Certificate
}

// draft checks a credential request.
func (e *Reconciler) draft(applicationID string, req appaccess.CredentialRequest) (draft, error) {
	d := draft{credential: appaccess.Credential{ApplicationID: applicationID, Kind: req.Kind, Name: req.Name}}
	if req.OperationID == "" || len(req.OperationID) > 200 {
		return d, &appaccess.InvalidError{Field: "operationId", Rule: "1 to 200 bytes"}
	}
	switch req.Kind {
	case appaccess.SecretCredential:
		if req.Deliver == nil {
			return d, &appaccess.InvalidError{Field: "deliver", Rule: "is required for a secret: its value is told only once"}
		}
		if req.Lifetime < 0 {
			return d, &appaccess.InvalidError{Field: "lifetime", Rule: "must not be negative"}
		}
	case appaccess.CertificateCredential:
		return d, d.certificate(req.CertificatePEM, e.cfg.Now())
	case appaccess.FederatedCredential:
		return d, d.federated(req)
	default:
		return d, &appaccess.InvalidError{Field: "kind", Rule: "secret, certificate or federated"}
	}
	return d, nil
}

func (d *draft) certificate(text string, now time.Time) error {
	invalid := func(rule string) error { return &appaccess.InvalidError{Field: "certificatePem", Rule: rule} }
	if len(text) > 64<<10 {
		return invalid("at most 64 KiB")
	}
	if strings.Contains(text, "PRIVATE KEY") {
		return invalid("the certificate alone: a private key must stay with its owner")
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return invalid("exactly one PEM block of type CERTIFICATE")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return invalid("a certificate: " + err.Error())
	}
	if now.After(cert.NotAfter) {
		return invalid("expired on " + cert.NotAfter.UTC().Format(time.RFC3339))
	}
	sum := sha256.Sum256(cert.Raw)
	d.cert = cert
	d.credential.Thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
	d.credential.Start, d.credential.End = cert.NotBefore, cert.NotAfter
	return nil
}

func (d *draft) federated(req appaccess.CredentialRequest) error {
	switch {
	case !strings.HasPrefix(req.Issuer, "https://") || len(req.Issuer) > 600:
		return &appaccess.InvalidError{Field: "issuer", Rule: "an https URL of at most 600 characters"}
	case req.Subject == "" || len(req.Subject) > 600:
		return &appaccess.InvalidError{Field: "subject", Rule: "1 to 600 characters"}
	case len(req.Audience) > 600:
		return &appaccess.InvalidError{Field: "audience", Rule: "at most 600 characters"}
	}
	d.credential.Issuer, d.credential.Subject, d.credential.Audience = req.Issuer, req.Subject, req.Audience
	if req.Audience == "" {
		d.credential.Audience = defaultAudience
	}
	return nil
}

// addCertificate adds the certificate to the application's keys. Graph replaces
// the whole collection, so the PATCH contains the existing keys too.
func (r *run) addCertificate(ctx context.Context, o *object, req appaccess.CredentialRequest, d draft) (appaccess.Credential, error) {
	a, err := r.beginCredential(ctx, o, req)
	if err != nil {
		return appaccess.Credential{}, err
	}
	thumbprint := sha1.Sum(d.cert.Raw)
	key := KeyCredential{
		KeyID: uuid.NewString(), DisplayName: withTag(req.Name, a.Tag),
		Type: "AsymmetricX509Cert", Usage: "Verify", Key: d.cert.Raw,
		Thumbprint: strings.ToUpper(hex.EncodeToString(thumbprint[:])), Start: d.cert.NotBefore, End: d.cert.NotAfter,
	}
	keys := append(slices.Clone(o.app.Keys), key)
	s := r.patch(o, appaccess.ActionCreate, []string{"certificate"}, ApplicationPatch{Keys: &keys})
	if err := s.run(ctx); err != nil {
		if kindOf(err) == Permanent {
			o.forgetPending(a.Tag)
			err = errors.Join(err, r.save(ctx, o))
		}
		return appaccess.Credential{}, err
	}
	s.model()
	c := d.credential
	if c.KeyID, err = r.keyID(ctx, o, a); err != nil {
		return appaccess.Credential{}, err
	}
	c.ID, c.Created = c.KeyID, r.e.cfg.Now()
	return r.deliver(ctx, o, a, c, req, Secret{})
}

// keyID waits until the certificate shows and returns its ID, which Entra may have
// changed.
func (r *run) keyID(ctx context.Context, o *object, a pendingCredential) (string, error) {
	var id string
	err := r.await(ctx, o, "wait until the certificate shows", func(ctx context.Context) (bool, error) {
		apps, errs := readAll(ctx, r, o, []AppRef{{ObjectID: o.entry.ObjectID}}, r.applications)
		if errs[0] != nil && !notFound(errs[0]) {
			return false, errs[0]
		}
		for _, k := range apps[0].Keys {
			if hasTag(k.DisplayName, a.Tag) {
				id = k.KeyID
			}
		}
		return id != "", nil
	})
	return id, err
}

func (o *object) keyOf(a pendingCredential) int {
	return slices.IndexFunc(o.app.Keys, func(k KeyCredential) bool { return hasTag(k.DisplayName, a.Tag) })
}

func (r *run) keyRemoval(o *object, i int, detail string) *step {
	id := o.app.Keys[i].KeyID
	gone := revocation{Kind: appaccess.CertificateCredential, KeyID: id}
	keys := slices.Delete(slices.Clone(o.app.Keys), i, i+1)
	s := r.patch(o, appaccess.ActionRemove, []string{detail}, ApplicationPatch{Keys: &keys})
	run, model := s.run, s.model
	s.run = func(ctx context.Context) error {
		err := run(ctx)
		if err == nil {
			r.deletionAnswered(o, gone, true)
		}
		return err
	}
	s.model = func() {
		model()
		o.entry.RemovedKeys = append(slices.Clone(o.entry.RemovedKeys), id)
		o.entry.RemovedKeys = o.entry.RemovedKeys[max(0, len(o.entry.RemovedKeys)-20):]
	}
	return s
}

// hideRemoved leaves out certificates that we removed within LagBudget, because a
// later PATCH would write them back. A certificate that shows after that time has
// reappeared.
func (r *run) hideRemoved(o *object) {
	o.hidden = nil
	o.app.Keys = slices.DeleteFunc(slices.Clone(o.app.Keys), func(k KeyCredential) bool {
		i := o.revoking(revocation{KeyID: k.KeyID})
		back := i >= 0 && o.entry.Revoking[i].Since.Add(r.e.cfg.LagBudget).Before(o.readAt)
		hide := !back && slices.Contains(o.entry.RemovedKeys, k.KeyID)
		if hide {
			o.hidden = append(o.hidden, k.KeyID)
		}
		return hide
	})
}

// addFederated adds a federated credential. Its name is the operation tag.
func (r *run) addFederated(ctx context.Context, o *object, req appaccess.CredentialRequest, d draft) (appaccess.Credential, error) {
	a, err := r.beginCredential(ctx, o, req)
	if err != nil {
		return appaccess.Credential{}, err
	}
	c := d.credential
	var made FederatedCredential
	err = r.write(ctx, o, r.e.dir, opFederate, func(ctx context.Context) (err error) {
		made, err = r.e.dir.AddFederatedCredential(ctx, o.entry.ObjectID, FederatedCredential{
			Name: a.Tag, Description: clip(req.Name, 600), Issuer: c.Issuer, Subject: c.Subject, Audiences: []string{c.Audience},
		})
		return err
	})
	if err == nil && made.ID == "" {
		made, err = r.awaitFederated(ctx, o, a)
	}
	if err != nil {
		if kindOf(err) == Permanent {
			o.forgetPending(a.Tag)
			err = errors.Join(err, r.save(ctx, o))
		}
		return appaccess.Credential{}, err
	}
	r.wrote(o)
	c.ID, c.KeyID, c.Created = made.ID, made.ID, r.e.cfg.Now()
	return r.deliver(ctx, o, a, c, req, Secret{})
}

// awaitFederated waits until the federated credential of a request of unknown
// outcome shows.
func (r *run) awaitFederated(ctx context.Context, o *object, a pendingCredential) (made FederatedCredential, err error) {
	err = r.await(ctx, o, "wait until the federated credential shows", func(ctx context.Context) (bool, error) {
		r.listFederated(ctx, []*object{o})
		i := o.federatedOf(a)
		if i >= 0 {
			made = o.federated[i]
		}
		return i >= 0, o.err
	})
	return made, err
}

func (o *object) federatedOf(a pendingCredential) int {
	return slices.IndexFunc(o.federated, func(f FederatedCredential) bool { return f.Name == a.Tag })
}

// readFederated lists the federated credentials of applications that may have one
// of ours. It skips the others, to save requests.
func (r *run) readFederated(ctx context.Context, objects []*object) {
	r.listFederated(ctx, slices.DeleteFunc(slices.Clone(objects), func(o *object) bool {
		attempted := slices.ContainsFunc(o.entry.PendingCredentials, func(a pendingCredential) bool { return a.Kind == appaccess.FederatedCredential })
		recorded := slices.ContainsFunc(o.entry.Credentials, func(c managedCredential) bool { return c.Kind == appaccess.FederatedCredential })
		revoking := slices.ContainsFunc(o.entry.Revoking, func(x revocation) bool { return x.Kind == appaccess.FederatedCredential })
		return !attempted && !recorded && !revoking && !o.entry.Recovered
	}))
}

func (r *run) listFederated(ctx context.Context, objects []*object) {
	ids := make([]string, len(objects))
	for i, o := range objects {
		ids[i] = o.entry.ObjectID
		if o.app != nil && o.app.ObjectID != "" {
			ids[i] = o.app.ObjectID
		}
	}
	lists, errs := readAll(ctx, r, locked(objects), ids, r.e.dir.FederatedCredentials)
	for i, o := range objects {
		if errs[i] != nil && !notFound(errs[i]) {
			o.err = o.problem(Unknown, string(opRead), fmt.Errorf("federated credentials: %w", errs[i]))
		}
		o.federated = lists[i]
	}
}

func (r *run) federatedRemoval(o *object, i int, detail string) *step {
	f := o.federated[i]
	return &step{
		action: appaccess.ActionRemove, detail: detail, op: opUnfederate,
		run: func(ctx context.Context) error {
			return r.remove(ctx, o, r.e.dir, opUnfederate, revocation{Kind: appaccess.FederatedCredential, KeyID: f.ID}, func(ctx context.Context) error {
				return r.e.dir.RemoveFederatedCredential(ctx, o.app.ObjectID, f.ID)
			})
		},
		model: func() {
			o.federated = slices.DeleteFunc(slices.Clone(o.federated), func(g FederatedCredential) bool { return g.ID == f.ID })
		},
	}
}
