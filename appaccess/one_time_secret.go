package appaccess

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/entragate/entragate/internal/secret"
)

// OneTimeSecret is a secret that a manager made and that waits, sealed, for the owner
// of the application. It does not contain the value.
type OneTimeSecret struct {
	ID            string    `json:"id"` // also the credential's ID
	ApplicationID string    `json:"applicationId"`
	Name          string    `json:"name"` // of the credential
	CreatedBy     string    `json:"createdBy"`
	Created       time.Time `json:"created"`
	Expires       time.Time `json:"expires"` // when the secret is removed, unless it was received
}

// sealedSecret is the record of a one-time secret.
type sealedSecret struct {
	OneTimeSecret
	OwnerID string        `json:"ownerId"`
	KeyID   string        `json:"keyId"` // Entra's, of the credential
	Rotate  bool          `json:"rotate,omitempty"`
	Overlap time.Duration `json:"overlap,omitempty"`

	SealedWith string `json:"sealedWith"` // ID of the OneTimeSecretKey
	Box        []byte `json:"box"`        // nonce and ciphertext
}

// CreateOneTimeSecret makes a secret for the owner of an application and does not
// show it to the manager who calls. The secret waits, sealed, until the owner calls
// [Service.ReceiveSecret]; if that does not happen in time, it is removed. With
// Rotate, the overlap begins when the owner receives it. For managers only.
func (s *Service) CreateOneTimeSecret(ctx context.Context, by Actor, applicationID string, req SecretRequest) (OneTimeSecret, error) {
	var made OneTimeSecret
	if !by.Manager {
		return made, ErrForbidden
	}
	if len(s.sealer.keys) == 0 {
		return made, &ConflictError{Field: "oneTimeSecret", Reason: "no OneTimeSecretKeys are configured: have the owner make the secret"}
	}
	_, err := s.makeSecret(ctx, by, applicationID, req, func(e *edit, c *Credential, v Secret) error {
		a, err := e.application(applicationID)
		if err != nil {
			return err
		}
		made = OneTimeSecret{ID: c.ID, ApplicationID: a.ID, Name: req.label(), CreatedBy: by.UserID, Created: e.now, Expires: e.now.Add(s.ttl)}
		box := sealedSecret{OneTimeSecret: made, OwnerID: a.OwnerID, KeyID: c.KeyID, Rotate: req.Rotate, Overlap: req.Overlap}
		return firstError(e.addCredential(c, "sealed for the owner"), e.putOneTimeSecret(s.sealer, box, v))
	})
	return orZero(made, err)
}

// OneTimeSecrets lists the secrets of an application that wait for its owner. For
// the owner and managers.
func (s *Service) OneTimeSecrets(ctx context.Context, by Actor, applicationID string) ([]OneTimeSecret, error) {
	var found []OneTimeSecret
	err := s.view(ctx, by, func(l *look) (err error) {
		if _, err = l.application(applicationID); err != nil {
			return err
		}
		found, err = l.waitingSecrets(applicationID, s.clock())
		return err
	})
	return found, err
}

// ReceiveSecret gives the owner a secret that was sealed for them, once: of two calls
// at the same time, one gets it. If the answer is lost on its way, the secret is
// lost: make a new one. For the owner only; a manager who is not the owner is
// refused.
func (s *Service) ReceiveSecret(ctx context.Context, by Actor, applicationID, secretID string) (IssuedSecret, error) {
	var got IssuedSecret
	var rotated bool
	err := s.update(ctx, by, func(e *edit) error {
		a, err := e.application(applicationID)
		if err != nil {
			return err
		}
		if a.OwnerID != by.UserID {
			return fmt.Errorf("only the owner receives a secret: %w", ErrForbidden)
		}
		box, err := e.waitingSecret(secretID)
		if err != nil {
			return err
		}
		if box.ApplicationID != applicationID || !e.now.Before(box.Expires) {
			return notFound(KindOneTimeSecret, secretID)
		}
		if got.Credential, err = find[Credential](e, box.ID); err != nil {
			return err
		}
		if got.Value, err = s.sealer.open(box, applicationID, by.UserID, got.Credential.KeyID); err != nil {
			return err
		}
		rotated = box.Rotate
		if rotated {
			if err := e.replaceOthers(&got.Credential, box.Overlap); err != nil {
				return err
			}
		}
		return firstError(e.w.Delete(KindOneTimeSecret, secretID), e.audit("secret.receive", KindApplication, applicationID, map[string]string{"credential": box.ID, "keyId": box.KeyID}))
	})
	if err != nil {
		return IssuedSecret{}, err
	}
	if rotated {
		s.removeReplaced(ctx, by, applicationID)
	}
	return got, nil
}

// waitingSecret reads a one-time secret. If there is none, the error is ErrNotFound.
func (l *look) waitingSecret(id string) (*sealedSecret, error) {
	if !isID(id) {
		return nil, notFound(KindOneTimeSecret, id)
	}
	rec, err := l.Get(KindOneTimeSecret, id)
	if errors.Is(err, ErrNotFound) {
		return nil, notFound(KindOneTimeSecret, id)
	}
	if err != nil {
		return nil, err
	}
	box := new(sealedSecret)
	return box, json.Unmarshal(rec.Body, box)
}

// waitingSecrets lists the one-time secrets of an application that its owner can
// still receive.
func (l *look) waitingSecrets(applicationID string, now time.Time) ([]OneTimeSecret, error) {
	recs, err := l.List(Query{Kind: KindOneTimeSecret, Where: where(byApplication, applicationID)})
	if err != nil {
		return nil, err
	}
	var found []OneTimeSecret
	for _, rec := range recs {
		var h OneTimeSecret
		if err := json.Unmarshal(rec.Body, &h); err != nil {
			return nil, err
		}
		if !now.Before(h.Expires) {
			continue
		}
		found = append(found, h)
	}
	return found, nil
}

func (e *edit) putOneTimeSecret(s *sealer, box sealedSecret, v Secret) error {
	if err := s.seal(&box, v); err != nil {
		return err
	}
	body, err := json.Marshal(box)
	if err != nil {
		return err
	}
	return e.w.Put(Record{Kind: KindOneTimeSecret, ID: box.ID, Body: body, Index: []IndexEntry{
		{Name: byApplication, Value: box.ApplicationID}, {Name: byExpiry, Value: timeValue(box.Expires)},
	}})
}

func (e *edit) forgetOneTimeSecret(id string) error { return e.w.Delete(KindOneTimeSecret, id) }

// forgetOneTimeSecrets removes the one-time secrets of an application, expired ones
// too.
func (e *edit) forgetOneTimeSecrets(applicationID string) error {
	recs, err := e.List(Query{Kind: KindOneTimeSecret, Where: where(byApplication, applicationID)})
	for _, rec := range recs {
		err = errors.Join(err, e.forgetOneTimeSecret(rec.ID))
	}
	return err
}

// OneTimeSecretKey is an AES-256 key that seals one-time secrets.
type OneTimeSecretKey struct {
	ID  string // stored with what the key seals, so that keys can rotate
	Key Secret // exactly 32 random bytes
}

type sealer struct{ keys []sealingKey }

type sealingKey struct {
	id   string
	aead cipher.AEAD
}

func newSealer(keys []OneTimeSecretKey) (*sealer, error) {
	s := &sealer{}
	for i, k := range keys {
		raw := []byte(k.Key.Reveal())
		if k.ID == "" || len(raw) != 32 {
			return nil, fmt.Errorf("key %d: needs an ID and exactly 32 bytes, has %d", i, len(raw))
		}
		for _, other := range s.keys {
			if other.id == k.ID {
				return nil, fmt.Errorf("key %d: the ID %q is taken", i, k.ID)
			}
		}
		block, err := aes.NewCipher(raw)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		s.keys = append(s.keys, sealingKey{k.ID, aead})
	}
	return s, nil
}

// seal encrypts with the first key. The nonce is random: 96 bits suffice for 2^32
// secrets a key.
func (s *sealer) seal(box *sealedSecret, v Secret) error {
	if len(s.keys) == 0 {
		return errors.New("appaccess: no key to seal with")
	}
	key := s.keys[0]
	nonce := make([]byte, key.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	box.SealedWith = key.id
	box.Box = key.aead.Seal(nonce, nonce, []byte(v.Reveal()), bound(box.ApplicationID, box.OwnerID, box.KeyID, timeValue(box.Expires)))
	return nil
}

// open decrypts only for this application, owner, credential and end.
func (s *sealer) open(box *sealedSecret, applicationID, ownerID, keyID string) (Secret, error) {
	lost := &ConflictError{Field: "oneTimeSecret", Reason: "the secret cannot be opened any more: have a new one made", Objects: []string{box.ID}}
	for _, key := range s.keys {
		if key.id != box.SealedWith {
			continue
		}
		n := key.aead.NonceSize()
		if len(box.Box) < n {
			return Secret{}, lost
		}
		plain, err := key.aead.Open(nil, box.Box[:n], box.Box[n:], bound(applicationID, ownerID, keyID, timeValue(box.Expires)))
		if err != nil {
			return Secret{}, lost
		}
		return secret.New(string(plain)), nil
	}
	return Secret{}, lost
}

// bound returns the associated data: each part with its length, so that no two lists
// of parts are equal. The end is among them: a record with a later end does not open.
func bound(parts ...string) []byte {
	data := []byte("entragate waitingSecret 1")
	for _, p := range parts {
		data = binary.BigEndian.AppendUint32(data, uint32(len(p)))
		data = append(data, p...)
	}
	return data
}
