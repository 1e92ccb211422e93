package appaccess

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

const (
	year              = 365 * 24 * time.Hour
	minLifetime       = time.Hour
	maxOverlap        = 90 * 24 * time.Hour
	maxSecrets        = 2 // the current one and its successor
	maxCertificates   = 2
	maxFederated      = 20
	maxCredentialName = 80
)

// SecretRequest asks for a client secret.
type SecretRequest struct {
	Name string // shown in lists: at most 80 characters; empty: "secret"
	// Lifetime is 1 hour to 1 year; 0: 1 year (365 days). The tenant may allow
	// less.
	Lifetime time.Duration
	// Rotate replaces the existing secrets. They stop working Overlap (0: at once, at
	// most 90 days) after the new secret is issued, or received by its owner. Without
	// Rotate they stay, and an application has at most two.
	Rotate  bool
	Overlap time.Duration
}

// IssuedSecret is a secret with its value, which is not stored and cannot be read
// again.
type IssuedSecret struct {
	Credential Credential
	Value      Secret
}

// CertificateRequest registers a certificate.
type CertificateRequest struct {
	Name string // empty: the certificate's subject
	// PEM is one certificate, without its private key, which must never leave its
	// owner: a PEM with a private key is refused.
	PEM string
	// Rotate replaces the application's other certificates: they stop working
	// Overlap (0: at once, at most 90 days) after this one is registered. Without
	// Rotate they stay, and an application has at most two.
	Rotate  bool
	Overlap time.Duration
}

// FederatedRequest makes the application trust the assertions of another issuer, so
// that a workload of GitHub, Kubernetes or another cloud needs no secret.
type FederatedRequest struct {
	Name     string // 3 to 80 characters of a-z, 0-9, hyphen, full stop and underscore
	Issuer   string // https URL, as in the assertion's iss
	Subject  string // as in the assertion's sub
	Audience string // as in the assertion's aud; empty: api://AzureADTokenExchange
	// Replaces is the ID of a federated credential of the application that stops
	// working Overlap (0: at once, at most 90 days) after the new one is added: for a
	// workload that moves. Empty: none.
	Replaces string
	Overlap  time.Duration
}

// Credentials lists an application's credentials, without values, for its owner and
// managers. A replaced secret is listed until it is removed.
func (s *Service) Credentials(ctx context.Context, by Actor, applicationID string) ([]Credential, error) {
	var found []Credential
	err := s.view(ctx, by, func(l *look) (err error) {
		if _, err = l.application(applicationID); err != nil {
			return err
		}
		found, err = l.credentials(applicationID)
		return err
	})
	return found, err
}

// AddSecret makes a client secret and returns its value, only this once. A call that
// fails may leave a secret in Entra; the next call or Sync removes it. For the owner
// and managers; a manager can also have a secret sealed for the owner:
// [Service.CreateOneTimeSecret].
func (s *Service) AddSecret(ctx context.Context, by Actor, applicationID string, req SecretRequest) (IssuedSecret, error) {
	var value Secret
	c, err := s.makeSecret(ctx, by, applicationID, req, func(e *edit, c *Credential, v Secret) error {
		value = v
		if req.Rotate {
			if err := e.replaceOthers(c, req.Overlap); err != nil {
				return err
			}
		}
		return e.addCredential(c, "shown to the actor")
	})
	if err != nil {
		return IssuedSecret{}, err
	}
	if req.Rotate {
		s.removeReplaced(ctx, by, applicationID)
	}
	return IssuedSecret{c, value}, nil
}

// label returns the name that is shown.
func (r *SecretRequest) label() string { return cmp.Or(r.Name, "secret") }

func (r *SecretRequest) check() error {
	r.Name = r.label()
	if r.Lifetime == 0 {
		r.Lifetime = year
	}
	switch {
	case r.Lifetime < minLifetime || r.Lifetime > year:
		return &InvalidError{"lifetime", "must be 1 hour to 365 days, or 0 for 365 days"}
	}
	return firstError(checkOverlap(r.Overlap, r.Rotate, "rotate"), checkText("name", r.Name, 1, maxCredentialName))
}

// checkOverlap checks how long a replaced credential still works.
func checkOverlap(overlap time.Duration, replaces bool, field string) error {
	switch {
	case overlap < 0 || overlap > maxOverlap:
		return &InvalidError{"overlap", "must be 0 to 90 days"}
	case overlap > 0 && !replaces:
		return &InvalidError{"overlap", "is only taken with " + field}
	}
	return nil
}

// AddCertificate lets the application authenticate with a certificate. Neither the
// Service nor Entra checks the certificate's chain. For the owner and managers.
func (s *Service) AddCertificate(ctx context.Context, by Actor, applicationID string, req CertificateRequest) (Credential, error) {
	cert, err := parseCertificate(req.PEM, s.now())
	if err != nil {
		return Credential{}, err
	}
	sum := sha256.Sum256(cert.Raw)
	if err := checkOverlap(req.Overlap, req.Rotate, "rotate"); err != nil {
		return Credential{}, err
	}
	if req.Name == "" {
		req.Name = shortened(cert.Subject.String(), maxCredentialName, "certificate")
	}
	if err := checkText("name", req.Name, 1, maxCredentialName); err != nil {
		return Credential{}, err
	}
	c := Credential{
		Kind: CertificateCredential, Name: req.Name, Start: cert.NotBefore.UTC(), End: cert.NotAfter.UTC(),
		Thumbprint: base64.RawURLEncoding.EncodeToString(sum[:]),
	}
	return s.addKeyless(ctx, by, applicationID, c, CredentialRequest{CertificatePEM: req.PEM}, c.Thumbprint, func(e *edit, c *Credential) error {
		if !req.Rotate {
			return nil
		}
		return e.replaceOthers(c, req.Overlap)
	})
}

func parseCertificate(text string, now time.Time) (*x509.Certificate, error) {
	bad := func(rule string) (*x509.Certificate, error) { return nil, &InvalidError{"pem", rule} }
	if len(text) > 64<<10 {
		return bad("must have at most 64 KiB")
	}
	block, rest := pem.Decode([]byte(text))
	for b, r := block, rest; b != nil; b, r = pem.Decode(r) {
		if b.Type != "CERTIFICATE" {
			return bad("must hold the certificate only: keep the private key to yourself, and replace one that was sent here")
		}
	}
	if block == nil {
		return bad("must be a PEM block of type CERTIFICATE")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return bad("must hold one certificate, without its chain")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return bad("is no X.509 certificate")
	}
	if !now.Before(cert.NotAfter) {
		return bad("the certificate has expired")
	}
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return bad("an RSA key must have at least 2,048 bits")
		}
	case *ecdsa.PublicKey:
	default:
		return bad("must have an RSA or ECDSA key")
	}
	return cert, nil
}

// AddFederatedCredential lets workloads of another issuer authenticate as the
// application. For the owner and managers.
func (s *Service) AddFederatedCredential(ctx context.Context, by Actor, applicationID string, req FederatedRequest) (Credential, error) {
	if req.Audience == "" {
		req.Audience = "api://AzureADTokenExchange"
	}
	if err := firstError(checkFederated(req), checkOverlap(req.Overlap, req.Replaces != "", "replaces")); err != nil {
		return Credential{}, err
	}
	c := Credential{Kind: FederatedCredential, Name: req.Name, Issuer: req.Issuer, Subject: req.Subject, Audience: req.Audience}
	return s.addKeyless(ctx, by, applicationID, c,
		CredentialRequest{Issuer: req.Issuer, Subject: req.Subject, Audience: req.Audience}, req.Issuer+"\n"+req.Subject,
		func(e *edit, c *Credential) error { return e.replaceFederated(c, req) })
}

func checkFederated(req FederatedRequest) error {
	if len(req.Name) < 3 || !isID(req.Name) {
		return &InvalidError{"name", "must have 3 to 80 characters of a-z, 0-9, hyphen, full stop and underscore, and begin with a letter or digit"}
	}
	if u, err := url.Parse(req.Issuer); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return &InvalidError{"issuer", "must be an https URL without user info, query and fragment"}
	}
	return firstError(
		checkText("issuer", req.Issuer, 1, 600), checkText("subject", req.Subject, 1, 600), checkText("audience", req.Audience, 1, 600),
	)
}

// replaceFederated sets the end of the federated credential that a new one replaces.
func (e *edit) replaceFederated(c *Credential, req FederatedRequest) error {
	if req.Replaces == "" {
		return nil
	}
	old, err := find[Credential](e, req.Replaces)
	switch {
	case ignoreNotFound(err) != nil:
		return err
	case err != nil || old.ApplicationID != c.ApplicationID || old.Kind != FederatedCredential || old.ID == c.ID:
		return &InvalidError{"replaces", fmt.Sprintf("the application has no other federated credential %q", req.Replaces)}
	}
	return e.replace(&old, c, e.now.Add(req.Overlap))
}

// addKeyless adds a credential without a secret value. Its ID is derived from its
// content, so the same call again finds the credential that exists. replace sets the
// end of the credentials that it replaces.
func (s *Service) addKeyless(ctx context.Context, by Actor, applicationID string, c Credential, req CredentialRequest, natural string, replace func(*edit, *Credential) error) (Credential, error) {
	sum := sha256.Sum256([]byte(applicationID + "\n" + string(c.Kind) + "\n" + natural))
	c.ID, c.ApplicationID, c.CreatedBy = hex.EncodeToString(sum[:13]), applicationID, by.UserID
	var existing *Credential
	err := s.view(ctx, by, func(l *look) error {
		existing = nil
		if _, err := l.application(applicationID); err != nil {
			return err
		}
		old, err := find[Credential](l, c.ID)
		if err == nil && old.RemoveAfter.IsZero() {
			existing = &old
		}
		return ignoreNotFound(err)
	})
	if err != nil {
		return Credential{}, err
	}
	if existing != nil {
		return *existing, nil
	}
	made, err := s.makeCredential(ctx, by, c, req, func(e *edit, c *Credential, _ Secret) error {
		return firstError(replace(e, c), e.addCredential(c, ""))
	})
	if err == nil {
		s.removeReplaced(ctx, by, applicationID)
	}
	if conflict := new(ConflictError); errors.As(err, &conflict) && slices.Contains(conflict.Objects, c.ID) {
		// The same call at the same time has added it.
		err = s.view(ctx, by, func(l *look) (err error) {
			made, err = find[Credential](l, c.ID)
			return err
		})
	}
	return made, err
}

// provisioned checks that an application can get credentials now.
func (s *Service) provisioned(l *look, applicationID string) error {
	a, err := l.application(applicationID)
	switch {
	case err != nil:
		return err
	case s.entra == nil:
		return errNoEntra()
	case a.existing():
		return errNoCredentials(&a)
	case a.Entra.ObjectID == "":
		return &ConflictError{Field: "state", Reason: "Entra does not have the application yet: let a manager run Sync first", Objects: []string{applicationID}}
	}
	return nil
}

// errNoCredentials refuses credentials of an existing service principal.
func errNoCredentials(a *ClientApplication) error {
	reason := "the application is an existing service principal: its credentials are managed where its application was registered"
	if a.ClientKind() == ManagedIdentityClient {
		reason = "the application is a managed identity, which has no credentials: Azure gives its tokens to the resource that has the identity"
	}
	return &ConflictError{Field: "servicePrincipal", Reason: reason, Objects: []string{a.ID}}
}

// roomFor refuses a credential that exists already or that would be one too many.
func (l *look) roomFor(c *Credential, now time.Time) error {
	standing, err := l.credentials(c.ApplicationID)
	if err != nil {
		return err
	}
	limit := map[CredentialKind]int{SecretCredential: maxSecrets, CertificateCredential: maxCertificates, FederatedCredential: maxFederated}[c.Kind]
	var same []string
	for _, o := range standing {
		if due(&o, now) || o.Kind == SecretCredential && !now.Before(o.End) {
			continue // replaced, and soon removed
		}
		if o.ID == c.ID || o.Kind == c.Kind && o.Kind == FederatedCredential && o.Name == c.Name {
			return &ConflictError{Field: "name", Reason: "a credential of this name or content exists already", Objects: []string{o.ID}}
		}
		if o.Kind == c.Kind {
			same = append(same, o.ID)
		}
	}
	if len(same) >= limit {
		return &ConflictError{Field: "credential", Reason: fmt.Sprintf("an application has at most %d of this kind: remove one first", limit), Objects: same}
	}
	return nil
}

// addCredential records a credential. value says who received the value; it is empty
// for a kind without a value.
func (e *edit) addCredential(c *Credential, value string) error {
	details := map[string]string{"credential": c.ID, "kind": string(c.Kind), "name": c.Name, "keyId": c.KeyID}
	if value != "" {
		details["value"] = value
	}
	return firstError(write(e, c), e.audit("credential.add", KindApplication, c.ApplicationID, details))
}

// RemoveCredential removes a credential from Entra and then from the store, with a
// one-time secret that waits. Tokens that were issued with the credential stay valid
// until they expire: to revoke access at once, suspend the application. For the owner
// and managers.
func (s *Service) RemoveCredential(ctx context.Context, by Actor, applicationID, credentialID string) error {
	var c Credential
	err := s.update(ctx, by, func(e *edit) (err error) {
		if _, err := e.application(applicationID); err != nil {
			return err
		}
		if c, err = find[Credential](e, credentialID); err == nil && c.ApplicationID != applicationID {
			err = notFound(KindCredential, credentialID)
		}
		if err != nil || due(&c, e.now) {
			return err
		}
		c.RemoveAfter = e.now
		if err := e.forgetOneTimeSecret(credentialID); err != nil {
			return err
		}
		return firstError(write(e, &c), e.audit("credential.remove", KindApplication, applicationID, map[string]string{
			"credential": c.ID, "kind": string(c.Kind), "name": c.Name, "keyId": c.KeyID,
		}))
	})
	if err != nil {
		return err
	}
	return s.dropCredential(ctx, &c)
}

// due reports whether a credential must be removed now.
func due(c *Credential, now time.Time) bool {
	return !c.RemoveAfter.IsZero() && !now.Before(c.RemoveAfter)
}

// dropCredential removes a credential that is due from Entra and then from the store.
func (s *Service) dropCredential(ctx context.Context, c *Credential) error {
	if s.entra == nil {
		return errNoEntra()
	}
	err := s.entra.RemoveCredential(ctx, c.ApplicationID, *c, func(w Writer, unconfirmed int) error {
		e, err := s.edit(w, Actor{})
		if err != nil {
			return err
		}
		return firstError(e.w.Delete(KindCredential, c.ID), e.setUnconfirmed(c.ApplicationID, unconfirmed))
	})
	if err != nil {
		return credentialError(c.ApplicationID, err)
	}
	return nil
}

// setUnconfirmed records how many revocations of an application are not confirmed.
func (e *edit) setUnconfirmed(applicationID string, n int) error {
	a, err := find[ClientApplication](e, applicationID)
	if err != nil || a.Sync.Unconfirmed == n {
		return ignoreNotFound(err)
	}
	a.Sync.Unconfirmed = n
	return write(e, &a)
}

// removeReplaced removes secrets whose overlap is over. A failure must not hide the
// new secret from its owner: Sync tries again.
func (s *Service) removeReplaced(ctx context.Context, by Actor, applicationID string) {
	list, err := s.Credentials(ctx, by, applicationID)
	if err != nil {
		return
	}
	for _, c := range list {
		if !due(&c, s.clock()) {
			continue
		}
		if err := s.dropCredential(ctx, &c); err != nil {
			s.log.WarnContext(ctx, "a replaced credential could not be removed yet", "application", applicationID, "credential", c.ID, "error", err)
		}
	}
}

func credentialError(applicationID string, err error) error {
	return &ProvisionError{Object: "application " + applicationID, Err: err}
}

func shortened(s string, maximum int, fallback string) string {
	if checkText("name", s, 1, maximum) == nil {
		return s
	}
	return fallback
}
