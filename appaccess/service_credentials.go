package appaccess

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/url"
	"time"
)

const (
	year              = 365 * 24 * time.Hour
	minLifetime       = time.Hour
	maxOverlap        = 90 * 24 * time.Hour
	maxSecrets        = 2 // the current one and its successor: a third is one that nobody remembers
	maxCertificates   = 2
	maxFederated      = 20
	maxCredentialName = 80
)

// SecretRequest asks for a client secret.
type SecretRequest struct {
	Name string // for people: at most 80 characters; empty: "secret"
	// Lifetime is 1 hour to 1 year; 0: 1 year (365 days). The tenant may allow
	// less.
	Lifetime time.Duration
	// Rotate replaces the secrets that stand: they stop working Overlap (0: at
	// once, at most 90 days) after the new one is issued, or received by its
	// owner. Without Rotate they stay, and an application has at most two.
	Rotate  bool
	Overlap time.Duration
}

// IssuedSecret is a secret with its value, which is not kept and cannot be read
// again.
type IssuedSecret struct {
	Credential Credential
	Value      Secret
}

// CertificateRequest registers a certificate.
type CertificateRequest struct {
	Name string // empty: the certificate's subject
	// PEM is one certificate, without its private key: that never leaves its
	// owner, and a PEM that holds one is refused.
	PEM string
}

// FederatedRequest trusts the assertions of another issuer: a workload of
// GitHub, Kubernetes or another cloud then needs no secret at all.
type FederatedRequest struct {
	Name     string // 3 to 80 characters of a-z, 0-9, hyphen, full stop and underscore
	Issuer   string // https URL, as in the assertion's iss
	Subject  string // as in its sub
	Audience string // as in its aud; empty: api://AzureADTokenExchange
}

// Credentials lists an application's credentials, without values, for its owner
// and managers. Secrets that were replaced are listed until they are removed.
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

// AddSecret makes a client secret and returns its value, this once. For the
// owner and managers; a manager who makes one for an owner can have it sealed
// instead: [Service.HandOverSecret]. When Entra fails in the middle, the same
// call again replaces whatever was left behind.
func (s *Service) AddSecret(ctx context.Context, by Actor, applicationID string, req SecretRequest) (IssuedSecret, error) {
	var value Secret
	c, err := s.makeSecret(ctx, by, applicationID, req, func(_ context.Context, _ operation, _ Credential, v Secret) error {
		value = v
		return nil
	})
	if err != nil {
		return IssuedSecret{}, err
	}
	if req.Rotate {
		s.removeReplaced(ctx, by, applicationID)
	}
	return IssuedSecret{c, value}, nil
}

// label is the name that people see.
func (r *SecretRequest) label() string { return standing(r.Name, "secret") }

func (r *SecretRequest) check() error {
	r.Name = r.label()
	if r.Lifetime == 0 {
		r.Lifetime = year
	}
	switch {
	case r.Lifetime < minLifetime || r.Lifetime > year:
		return &InvalidError{"lifetime", "must be 1 hour to 365 days, or 0 for 365 days"}
	case r.Overlap < 0 || r.Overlap > maxOverlap:
		return &InvalidError{"overlap", "must be 0 to 90 days"}
	case r.Overlap > 0 && !r.Rotate:
		return &InvalidError{"overlap", "is only taken with rotate"}
	}
	return checkText("name", r.Name, 1, maxCredentialName)
}

// AddCertificate lets the application sign in with a certificate. For the owner
// and managers. The chain is not checked: Entra does not either.
func (s *Service) AddCertificate(ctx context.Context, by Actor, applicationID string, req CertificateRequest) (Credential, error) {
	cert, err := parseCertificate(req.PEM, s.now())
	if err != nil {
		return Credential{}, err
	}
	sum := sha256.Sum256(cert.Raw)
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
	return s.addKeyless(ctx, by, applicationID, c, CredentialRequest{CertificatePEM: req.PEM}, c.Thumbprint)
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

// AddFederatedCredential lets workloads of another issuer sign in as the
// application. For the owner and managers.
func (s *Service) AddFederatedCredential(ctx context.Context, by Actor, applicationID string, req FederatedRequest) (Credential, error) {
	if req.Audience == "" {
		req.Audience = "api://AzureADTokenExchange"
	}
	if err := checkFederated(req); err != nil {
		return Credential{}, err
	}
	c := Credential{Kind: FederatedCredential, Name: req.Name, Issuer: req.Issuer, Subject: req.Subject, Audience: req.Audience}
	return s.addKeyless(ctx, by, applicationID, c,
		CredentialRequest{Issuer: req.Issuer, Subject: req.Subject, Audience: req.Audience}, req.Issuer+"\n"+req.Subject)
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

// addKeyless adds a credential that has no secret value. Its operation ID comes
// from what makes it unique, so a call that was cut off is finished by the same
// call, and two at once are one.
func (s *Service) addKeyless(ctx context.Context, by Actor, applicationID string, c Credential, req CredentialRequest, natural string) (Credential, error) {
	sum := sha256.Sum256([]byte(applicationID + "\n" + string(c.Kind) + "\n" + natural))
	c.ID, c.ApplicationID, c.CreatedBy = hex.EncodeToString(sum[:13]), applicationID, by.UserID
	var stands *Credential
	err := s.update(ctx, by, func(e *edit) error {
		stands = nil
		if err := s.provisioned(e, applicationID); err != nil {
			return err
		}
		old, err := find[Credential](e, c.ID)
		if err == nil && old.RemoveAfter.IsZero() {
			stands = &old
			return nil
		}
		return firstError(ignoreNotFound(err), e.roomFor(&c))
	})
	if err != nil {
		return Credential{}, err
	}
	if stands != nil {
		return *stands, nil
	}
	req.OperationID, req.Kind, req.Name = c.ID, c.Kind, c.Name
	got, err := s.entra.AddCredential(ctx, applicationID, req)
	if err != nil {
		return Credential{}, credentialError(applicationID, err)
	}
	c.KeyID = got.KeyID
	ctx, cancel := afterwards(ctx)
	defer cancel()
	err = s.update(ctx, by, func(e *edit) error {
		c.Created = e.now
		return e.addCredential(&c, "")
	})
	return orZero(c, err)
}

// provisioned checks that an application may be given credentials now.
func (s *Service) provisioned(l *edit, applicationID string) error {
	a, err := l.application(applicationID)
	switch {
	case err != nil:
		return err
	case s.entra == nil:
		return errNoEntra()
	case a.Entra.ObjectID == "":
		return &ConflictError{Field: "state", Reason: "Entra does not have the application yet: let a manager run Sync first", Objects: []string{applicationID}}
	}
	return nil
}

// roomFor refuses a credential that stands already or that is one too many.
func (e *edit) roomFor(c *Credential) error {
	standing, err := e.credentials(c.ApplicationID)
	if err != nil {
		return err
	}
	limit := map[CredentialKind]int{SecretCredential: maxSecrets, CertificateCredential: maxCertificates, FederatedCredential: maxFederated}[c.Kind]
	var same []string
	for _, o := range standing {
		if o.Kind == SecretCredential && (due(&o, e.now) || !e.now.Before(o.End)) {
			continue // of no more use, and soon gone
		}
		if o.ID == c.ID || o.Kind == c.Kind && o.Kind == FederatedCredential && o.Name == c.Name {
			return &ConflictError{Field: "name", Reason: "a credential of this name or content stands already", Objects: []string{o.ID}}
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

// addCredential records a credential. value says who got to see it; empty for a
// kind that has none.
func (e *edit) addCredential(c *Credential, value string) error {
	details := map[string]string{"credential": c.ID, "kind": string(c.Kind), "name": c.Name, "keyId": c.KeyID}
	if value != "" {
		details["value"] = value
	}
	return firstError(write(e, c), e.audit("credential.add", KindApplication, c.ApplicationID, details))
}

// RemoveCredential removes a credential from Entra and then from here; a secret
// that waits to be received goes with it. Tokens that were issued with it stay
// valid until they expire: to end access at once suspend the application. For
// the owner and managers.
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
		if err := e.forgetHandover(credentialID); err != nil {
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

// due reports whether a credential is to be gone.
func due(c *Credential, now time.Time) bool {
	return !c.RemoveAfter.IsZero() && !now.Before(c.RemoveAfter)
}

// dropCredential removes what is due from Entra and forgets it.
func (s *Service) dropCredential(ctx context.Context, c *Credential) error {
	if s.entra == nil {
		return errNoEntra()
	}
	if err := s.entra.RemoveCredential(ctx, c.ApplicationID, *c); err != nil {
		return credentialError(c.ApplicationID, err)
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	_, err := s.store.Update(ctx, func(w Writer) error { return w.Delete(KindCredential, c.ID) })
	return err
}

// removeReplaced removes secrets whose overlap is over. A failure is for Sync
// to mend: it must not hide the new secret from its owner.
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

// afterwards is a context for storing what was done, even if the caller has
// gone away meanwhile.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
}

func shortened(s string, maximum int, fallback string) string {
	if checkText("name", s, 1, maximum) == nil {
		return s
	}
	return fallback
}
