package appaccess

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// KeySlot names one of the two keys of a subscription.
type KeySlot string

// The keys of a subscription. With two keys, callers can change to a new key without
// an interruption.
const (
	PrimaryKey   KeySlot = "primary"
	SecondaryKey KeySlot = "secondary"
)

// RegenerateKey replaces one of the two keys by a new one and returns it, only this
// once. Every gate refuses the old key at once. For the owner and managers.
func (s *Service) RegenerateKey(ctx context.Context, by Actor, id string, slot KeySlot) (Secret, error) {
	if slot != PrimaryKey && slot != SecondaryKey {
		return Secret{}, &InvalidError{"key", `must be "primary" or "secondary"`}
	}
	key, sum := NewKey()
	_, err := s.editSubscription(ctx, by, id, "subscription.regenerate", func(_ *edit, v *Subscription) (bool, error) {
		if slot == PrimaryKey {
			v.PrimaryHash = sum
		} else {
			v.SecondaryHash = sum
		}
		return true, nil
	}, "key", string(slot))
	return orZero(key, err)
}

// brought are the keys that a new subscription brings.
type brought []broughtKey

type broughtKey struct {
	slot KeySlot
	sum  KeyHash
}

func (b broughtKey) field() string { return string(b.slot) + "Hash" }

func broughtKeys(primary, secondary KeyHash) brought {
	keys := brought{{PrimaryKey, primary}, {SecondaryKey, secondary}}
	return slices.DeleteFunc(keys, func(b broughtKey) bool { return b.sum == KeyHash{} })
}

// check refuses a hash that cannot be a key's.
func (keys brought) check() error {
	for _, b := range keys {
		if b.sum == HashKey("") {
			return &InvalidError{b.field(), "must be the SHA-256 of a key: this is the hash of an empty text"}
		}
	}
	if len(keys) == 2 && keys[0].sum == keys[1].sum {
		return &InvalidError{keys[1].field(), "must be of another key than the primary one"}
	}
	return nil
}

// mayBring refuses keys if the actor must not choose keys, and keys that another
// subscription has, whatever its state.
func (e *edit) mayBring(keys brought) error {
	if len(keys) == 0 {
		return nil
	}
	if err := e.onlyManager(); err != nil {
		return fmt.Errorf("keys are a manager's to bring: %w", err)
	}
	for _, b := range keys {
		switch other, err := getBy[Subscription](e, byKey, b.sum.String()); {
		case err == nil:
			return &ConflictError{Field: b.field(), Reason: "another subscription has this key, in the store or in the same document: a key must belong to one subscription", Objects: []string{other.ID}}
		case !errors.Is(err, ErrNotFound):
			return err
		}
	}
	return nil
}

// audit returns what the audit trail contains of the brought keys.
func (keys brought) audit() []string {
	if len(keys) == 0 {
		return nil
	}
	slots := make([]string, len(keys))
	for i, b := range keys {
		slots[i] = string(b.slot)
	}
	return []string{"broughtKeys", strings.Join(slots, " ")}
}

// issue generates the keys that a new subscription does not bring.
func issue(v *Subscription) IssuedSubscription {
	var made IssuedSubscription
	if v.PrimaryHash == (KeyHash{}) {
		made.Primary, v.PrimaryHash = NewKey()
	}
	if v.SecondaryHash == (KeyHash{}) {
		made.Secondary, v.SecondaryHash = NewKey()
	}
	return made
}
