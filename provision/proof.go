package provision

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// Proof of ownership. Anybody in the tenant can compute our unique names and copy
// our tags, so neither shows that we made an application. The store holds a random
// installation ID and a key. Before an application is created, a random nonce is
// recorded. The POST carries the nonce as a tag, which proves the application
// until its object ID is recorded. The next PATCH adds a tag with an HMAC over
// instance, kind, ID, client ID and nonce. Nobody can compute the HMAC without the
// key, and it is not valid on another application. So an application is ours if
// its object ID is recorded and no other installation has signed it since, or if
// its HMAC is valid. The proof says that we made the application, not for whom.

const (
	instanceTag     = tagPrefix + "instance:"
	installationTag = tagPrefix + "installation:"
	nonceTag        = tagPrefix + "nonce:"
	proofTag        = tagPrefix + "proof:"
)

// installation is the identity of one store in the tenant. The key lies in the
// store in clear. A person who reads it can sign an application that they may
// write. The reconciler then takes the application for ours if the object of its
// unique name has no recorded object ID. The key authenticates nobody to Entra or to
// the gate and decrypts nothing.
type installation struct {
	ID  string `json:"id"`
	Key []byte `json:"key"`
}

func newInstallation() installation {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: see crypto/rand
	return installation{ID: strings.ToLower(rand.Text()), Key: key}
}

// installation reads the installation of an instance. If there is none, it
// generates one, with a new key, and stores it if w is not nil.
func (s state) installation(r appaccess.Reader, w appaccess.Writer, instance string) (installation, error) {
	var in installation
	found, err := getJSON(r, appaccess.KindInstallation, instance, &in)
	if found || err != nil {
		return in, err
	}
	in = newInstallation()
	if w == nil {
		return in, nil
	}
	return in, putJSON(w, appaccess.KindInstallation, instance, in)
}

// recordedInstallation is the ID of the installation of an instance; empty: there
// is none yet.
func (s state) recordedInstallation(ctx context.Context, instance string) (id string, err error) {
	err = s.store.View(ctx, func(r appaccess.Reader) error {
		var in installation
		_, err := getJSON(r, appaccess.KindInstallation, instance, &in)
		id = in.ID
		return err
	})
	return id, err
}

func newNonce() string { return strings.ToLower(rand.Text()) }

// sign returns the proof tag of an application.
func (o *object) sign(appID, nonce string) string {
	mac := hmac.New(sha256.New, o.installation.Key)
	for _, part := range []string{o.instance, o.kind, o.id, strings.ToLower(appID), nonce} {
		_ = binary.Write(mac, binary.BigEndian, uint32(len(part))) // a hash takes everything
		mac.Write([]byte(part))
	}
	return proofTag + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// tagged returns the rest of the first tag that has the prefix; empty: no tag has
// it.
func tagged(tags []string, prefix string) string {
	for _, t := range tags {
		if rest, ok := strings.CutPrefix(t, prefix); ok {
			return rest
		}
	}
	return ""
}

// signed reports whether the application has a valid proof tag of our key.
func (o *object) signed(a *Application) bool {
	want := []byte(o.sign(a.AppID, tagged(a.Tags, nonceTag)))
	return slices.ContainsFunc(a.Tags, func(t string) bool { return hmac.Equal([]byte(t), want) })
}

// tags returns our tags for the application. The proof tag follows once the client
// ID is known.
func (o *object) tags() []string {
	tags := []string{nameTag(o.key), instanceTag + o.instance, installationTag + o.installation.ID, nonceTag + o.entry.Nonce}
	if o.client != nil {
		tags = append(tags, ownerTag(o.client.OwnerID))
	}
	if o.app != nil {
		tags = append(tags, o.sign(o.app.AppID, o.entry.Nonce))
	}
	return tags
}

// NotOursError says that an application was not written because nothing proves
// that we made it. It matches [ErrNotOurs].
type NotOursError struct {
	UniqueName string // the name that we need
	AppID      string // client ID of the application that exists
	ObjectID   string // its object ID
	// Found is the installation that the application's tags name, which anybody
	// could have written; Own is the one that refuses.
	Found, Own string
	Deleted    bool // the application is soft-deleted and reserves the name
}

func (e *NotOursError) Error() string {
	exists := "exists"
	if e.Deleted {
		exists = "exists among the deleted ones"
	}
	found := "names no installation"
	if e.Found != "" {
		found = "names installation " + e.Found
	}
	return fmt.Sprintf("an application for %s %s (client ID %s, object ID %s) and nothing proves that installation %s made it: it %s; adopt it by its client ID if it is to be managed here, use another Config.Instance if another installation manages it, or delete it for good",
		e.UniqueName, exists, e.AppID, e.ObjectID, e.Own, found)
}

// OtherInstallation is the ID of another installation that the application's tags
// name, which anybody could have written; empty: they name none.
func (e *NotOursError) OtherInstallation() string {
	if e.Found == e.Own {
		return ""
	}
	return e.Found
}

// Is makes the error match [ErrNotOurs].
func (e *NotOursError) Is(target error) bool { return target == ErrNotOurs }

func (o *object) notOurs(a *Application, deleted bool) error {
	return o.problem(Permanent, string(opRead), &NotOursError{
		UniqueName: o.key, AppID: a.AppID, ObjectID: a.ObjectID,
		Found: tagged(a.Tags, installationTag), Own: o.installation.ID, Deleted: deleted,
	})
}

// proved reports whether we made the application.
func (o *object) proved(a *Application) bool {
	found := tagged(a.Tags, installationTag)
	switch {
	case o.entry.ObjectID != "" && o.entry.ObjectID == a.ObjectID:
		// Recorded. A signature of another key means that another installation took it over.
		signature := tagged(a.Tags, proofTag)
		return signature == "" || signature == o.entry.Accepted || o.signed(a)
	case found != "" && found != o.installation.ID:
		return false
	case o.signed(a):
		return true
	}
	nonce := tagged(a.Tags, nonceTag)
	return (o.entry.ObjectID == "" || o.entry.Replacing) && o.entry.Nonce != "" && nonce == o.entry.Nonce
}

// recoverObject records what a client application that is ours, but was not
// recorded, must lose before it is granted anything: its credentials with an
// operation tag become pending ones, and its grants of our products are recorded.
// An older backup may know the application for another owner.
func (r *run) recoverObject(ctx context.Context, o *object) {
	if o.existing() {
		if o.entry.Recovered && o.err == nil {
			r.recoverGrants(ctx, o)
		}
		return
	}
	if o.app == nil || o.adopt() != "" || !o.proved(o.app) {
		return
	}
	if nonce := tagged(o.app.Tags, nonceTag); o.entry.ObjectID == "" && o.entry.Nonce != nonce {
		o.entry.Recovered, o.entry.Nonce = true, nonce
	}
	if !o.entry.Recovered || o.client == nil {
		return
	}
	for _, p := range o.app.Passwords {
		o.addUnrecordedCredential(appaccess.SecretCredential, p.KeyID, p.DisplayName)
	}
	for _, k := range o.app.Keys {
		o.addUnrecordedCredential(appaccess.CertificateCredential, k.KeyID, k.DisplayName)
	}
	for _, f := range o.federated {
		o.addUnrecordedCredential(appaccess.FederatedCredential, f.ID, f.Name)
	}
	r.recoverGrants(ctx, o)
}

// recoverGrants records the grants of our products that a client has.
func (r *run) recoverGrants(ctx context.Context, o *object) {
	if len(o.assignments) == 0 {
		return
	}
	products, err := r.recordedProducts(ctx)
	if err != nil {
		o.err = &StateError{err}
		return
	}
	for _, a := range o.assignments {
		p, ours := products[a.ResourceID]
		g := recordedGrant{ProductID: p.ID, ResourceAppID: p.AppID, ResourceID: a.ResourceID, RoleID: a.RoleID}
		for _, role := range p.Roles {
			if role.ID == a.RoleID {
				g.Permission = role.Permission
			}
		}
		if ours && o.recorded(g) == nil {
			o.entry.Grants = append(slices.Clone(o.entry.Grants), g)
		}
	}
}

// addUnrecordedCredential records a credential with an operation tag as pending,
// unless it is recorded, so that it is removed.
func (o *object) addUnrecordedCredential(kind appaccess.CredentialKind, keyID, name string) {
	tag := operationTag.FindString(name)
	if tag == "" || o.entry.knows(keyID, name) {
		return
	}
	o.entry.PendingCredentials = append(slices.Clone(o.entry.PendingCredentials), pendingCredential{Tag: strings.TrimSpace(tag), Kind: kind, KeyID: keyID, At: o.readAt})
}

// recoveryEnds reports whether the read of a recovered object shows everything that
// it had before it was recovered. It takes the time of a revocation without a
// DELETE, because something may exist and not show yet.
func (r *run) recoveryEnds(o *object) bool {
	return o.entry.Recovered && o.inSync && !o.readAt.Before(o.entry.LastWritten.Add(notDeletedFactor*r.e.cfg.ConfirmTime))
}

// recordedProducts returns the entries of all products by the object ID of their
// service principal. It reads them once in a run: clients, for which it is called,
// are reconciled after the products are recorded.
func (r *run) recordedProducts(ctx context.Context) (map[string]entry, error) {
	r.recorded.Lock()
	defer r.recorded.Unlock()
	if r.recorded.products == nil {
		entries, err := r.e.state.all(ctx)
		if err != nil {
			return nil, err
		}
		r.recorded.products = map[string]entry{}
		for _, e := range entries {
			if e.Kind == kindProduct && e.ServicePrincipalID != "" {
				r.recorded.products[e.ServicePrincipalID] = e
			}
		}
	}
	return r.recorded.products, nil
}

// all reads the entries of all objects.
func (s state) all(ctx context.Context) ([]entry, error) {
	var found []entry
	err := s.store.View(ctx, func(r appaccess.Reader) error {
		found = nil
		q := appaccess.Query{Kind: appaccess.KindProvisioning, Limit: appaccess.MaxPage}
		for {
			records, err := r.List(q)
			if err != nil {
				return err
			}
			for _, rec := range records {
				var e entry
				if err := decodeJSON(rec, &e); err != nil {
					return err
				}
				found = append(found, e)
			}
			if len(records) < appaccess.MaxPage {
				return nil
			}
			q.After = records[len(records)-1].ID
		}
	})
	return found, err
}
