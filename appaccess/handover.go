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

// Handover is a secret that a manager made and that waits, sealed, for the
// owner of the application. It holds no value.
type Handover struct {
	ID            string    `json:"id"` // also that of the credential
	ApplicationID string    `json:"applicationId"`
	Name          string    `json:"name"` // of the credential
	CreatedBy     string    `json:"createdBy"`
	Created       time.Time `json:"created"`
	Expires       time.Time `json:"expires"` // unreceived, the secret is removed then
}

// sealedSecret is the record of a hand-over.
type sealedSecret struct {
	Handover
	OwnerID string        `json:"ownerId"`
	KeyID   string        `json:"keyId"` // Entra's, of the credential
	Rotate  bool          `json:"rotate,omitempty"`
	Overlap time.Duration `json:"overlap,omitempty"`

	SealedWith string `json:"sealedWith"` // ID of the HandoverKey
	Box        []byte `json:"box"`        // nonce and ciphertext
}

// HandOverSecret makes a secret for the owner of an application without showing
// it to the manager who asks: it waits, sealed, until the owner calls
// [Service.ReceiveSecret], and is removed if that does not happen in time. With
// Rotate the overlap begins when it is received. For managers only.
func (s *Service) HandOverSecret(ctx context.Context, by Actor, applicationID string, req SecretRequest) (Handover, error) {
	var made Handover
	if !by.Manager {
		return made, ErrForbidden
	}
	if len(s.sealer.keys) == 0 {
		return made, &ConflictError{Field: "handover", Reason: "no HandoverKeys are configured: have the owner make the secret"}
	}
	_, err := s.makeSecret(ctx, by, applicationID, req, func(ctx context.Context, op operation, c Credential, v Secret) error {
		return s.update(ctx, by, func(e *edit) error {
			if err := e.keeps(op); err != nil {
				return err // a box of another's operation would end with its secret
			}
			a, err := e.application(applicationID)
			if err != nil {
				return err
			}
			made = Handover{ID: c.ID, ApplicationID: a.ID, Name: req.label(), CreatedBy: by.UserID, Created: e.now, Expires: e.now.Add(s.ttl)}
			return e.putHandover(s.sealer, sealedSecret{Handover: made, OwnerID: a.OwnerID, KeyID: c.KeyID, Rotate: req.Rotate, Overlap: req.Overlap}, v)
		})
	})
	return orZero(made, err)
}

// Handovers lists the secrets of an application that wait for its owner. For
// the owner and managers.
func (s *Service) Handovers(ctx context.Context, by Actor, applicationID string) ([]Handover, error) {
	var found []Handover
	err := s.view(ctx, by, func(l *look) (err error) {
		if _, err = l.application(applicationID); err != nil {
			return err
		}
		found, err = l.handovers(applicationID, s.clock())
		return err
	})
	return found, err
}

// ReceiveSecret gives the owner a secret that was sealed for them, once: of two
// calls at the same time one gets it. For the owner only; a manager who is not
// the owner is refused. If the answer is lost on its way, the secret is lost:
// have a new one made.
func (s *Service) ReceiveSecret(ctx context.Context, by Actor, applicationID, handoverID string) (IssuedSecret, error) {
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
		box, err := e.handover(handoverID)
		if err != nil {
			return err
		}
		if box.ApplicationID != applicationID || !e.now.Before(box.Expires) {
			return notFound(KindHandover, handoverID)
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
		return firstError(e.w.Delete(KindHandover, handoverID), e.audit("secret.receive", KindApplication, applicationID, map[string]string{"credential": box.ID, "keyId": box.KeyID}))
	})
	if err != nil {
		return IssuedSecret{}, err
	}
	if rotated {
		s.removeReplaced(ctx, by, applicationID)
	}
	return got, nil
}

// handover reads one; not found is an error.
func (l *look) handover(id string) (*sealedSecret, error) {
	if !isID(id) {
		return nil, notFound(KindHandover, id)
	}
	rec, err := l.Get(KindHandover, id)
	if errors.Is(err, ErrNotFound) {
		return nil, notFound(KindHandover, id)
	}
	if err != nil {
		return nil, err
	}
	box := new(sealedSecret)
	return box, json.Unmarshal(rec.Body, box)
}

// handovers lists what an owner can still receive of an application. One
// whose credential is not recorded is still in the making.
func (l *look) handovers(applicationID string, now time.Time) ([]Handover, error) {
	recs, err := l.List(Query{Kind: KindHandover, Index: byApplication, Value: applicationID})
	if err != nil {
		return nil, err
	}
	var found []Handover
	for _, rec := range recs {
		var h Handover
		if err := json.Unmarshal(rec.Body, &h); err != nil {
			return nil, err
		}
		if !now.Before(h.Expires) {
			continue
		}
		switch _, err := find[Credential](l, h.ID); {
		case err == nil:
			found = append(found, h)
		case ignoreNotFound(err) != nil:
			return nil, err
		}
	}
	return found, nil
}

func (e *edit) putHandover(s *sealer, box sealedSecret, v Secret) error {
	if err := s.seal(&box, v); err != nil {
		return err
	}
	body, err := json.Marshal(box)
	if err != nil {
		return err
	}
	return e.w.Put(Record{Kind: KindHandover, ID: box.ID, Body: body, Index: []IndexEntry{{Name: byApplication, Value: box.ApplicationID}}})
}

func (e *edit) forgetHandover(id string) error { return e.w.Delete(KindHandover, id) }

// forgetHandovers removes those of an application, expired ones too.
func (e *edit) forgetHandovers(applicationID string) error {
	recs, err := e.List(Query{Kind: KindHandover, Index: byApplication, Value: applicationID})
	for _, rec := range recs {
		err = errors.Join(err, e.forgetHandover(rec.ID))
	}
	return err
}

// HandoverKey is an AES-256 key that seals secrets on their way to an owner.
type HandoverKey struct {
	ID  string // kept with what the key seals, so that keys can rotate
	Key Secret // exactly 32 bytes, drawn at random
}

type sealer struct{ keys []sealingKey }

type sealingKey struct {
	id   string
	aead cipher.AEAD
}

func newSealer(keys []HandoverKey) (*sealer, error) {
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

// seal encrypts with the first key. The nonce is random: with 96 bits a key is
// good for 2^32 secrets.
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
	box.Box = key.aead.Seal(nonce, nonce, []byte(v.Reveal()), bound(box.ApplicationID, box.OwnerID, box.KeyID))
	return nil
}

// open decrypts for this application, owner and credential and no other.
func (s *sealer) open(box *sealedSecret, applicationID, ownerID, keyID string) (Secret, error) {
	lost := &ConflictError{Field: "handover", Reason: "the secret cannot be opened any more: have a new one made", Objects: []string{box.ID}}
	for _, key := range s.keys {
		if key.id != box.SealedWith {
			continue
		}
		n := key.aead.NonceSize()
		if len(box.Box) < n {
			return Secret{}, lost
		}
		plain, err := key.aead.Open(nil, box.Box[:n], box.Box[n:], bound(applicationID, ownerID, keyID))
		if err != nil {
			return Secret{}, lost
		}
		return secret.New(string(plain)), nil
	}
	return Secret{}, lost
}

// bound is the associated data: each part with its length, so that no two
// triples look alike.
func bound(parts ...string) []byte {
	data := []byte("entragate handover 1")
	for _, p := range parts {
		data = binary.BigEndian.AppendUint32(data, uint32(len(p)))
		data = append(data, p...)
	}
	return data
}
