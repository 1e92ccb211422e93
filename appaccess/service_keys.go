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

// The keys of a subscription. With two of them callers move to a new one
// without a gap.
const (
	PrimaryKey   KeySlot = "primary"
	SecondaryKey KeySlot = "secondary"
)

// RegenerateKey replaces one of the two keys, made here or brought, by a new one
// and returns it, this once. The old one is refused by every gate at once. For
// the owner and managers.
func (s *Service) RegenerateKey(ctx context.Context, by Actor, id string, slot KeySlot) (Secret, error) {
	if slot != PrimaryKey && slot != SecondaryKey {
		return Secret{}, &InvalidError{"key", `must be "primary" or "secondary"`}
	}
	key, sum := NewKey()
	_, err := s.editSubscription(ctx, by, id, "subscription.regenerate", func(_ *edit, v *Subscription) (bool, error) {
		if slot == PrimaryKey {
			v.PrimarySum = sum
		} else {
			v.SecondarySum = sum
		}
		return true, nil
	}, "key", string(slot))
	return orZero(key, err)
}

// brought are the keys of a new subscription that callers have already.
type brought []broughtKey

type broughtKey struct {
	slot KeySlot
	sum  KeySum
}

func (b broughtKey) field() string { return string(b.slot) + "Sum" }

func broughtKeys(primary, secondary KeySum) brought {
	keys := brought{{PrimaryKey, primary}, {SecondaryKey, secondary}}
	return slices.DeleteFunc(keys, func(b broughtKey) bool { return b.sum == KeySum{} })
}

// check refuses what can be seen to be wrong of a key by its sum.
func (keys brought) check() error {
	for _, b := range keys {
		if b.sum == SumKey("") {
			return &InvalidError{b.field(), "must be the SHA-256 of a key: this is that of no text at all"}
		}
	}
	if len(keys) == 2 && keys[0].sum == keys[1].sum {
		return &InvalidError{keys[1].field(), "must be of another key than the primary one"}
	}
	return nil
}

// mayBring refuses keys that are not the actor's to choose, and those that other
// subscriptions have, also ones that have ended.
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
			return &ConflictError{Field: b.field(), Reason: "another subscription has this key, here or in the same document: a key is that of one", Objects: []string{other.ID}}
		case !errors.Is(err, ErrNotFound):
			return err
		}
	}
	return nil
}

// audit is what the trail says of them.
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

// issue makes the keys that a new subscription does not bring.
func issue(v *Subscription) IssuedSubscription {
	var made IssuedSubscription
	if v.PrimarySum == (KeySum{}) {
		made.Primary, v.PrimarySum = NewKey()
	}
	if v.SecondarySum == (KeySum{}) {
		made.Secondary, v.SecondarySum = NewKey()
	}
	return made
}
