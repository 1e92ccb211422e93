package appaccess

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// SigningKeys are the public keys of a token issuer, as a gate fetched them. The
// Catalog remembers them for a gate that starts while the issuer is unreachable.
//
// The remembered keys are not signed. Anybody who can write them can make a gate that
// starts during an outage accept tokens of any client application. But anybody who
// can write the store can also add a subscription key that passes at any time: the
// store needs the same protection with and without signing keys.
type SigningKeys struct {
	URL     string          `json:"url"`     // where they were fetched
	Fetched time.Time       `json:"fetched"` // by the clock of that gate
	Keys    json.RawMessage `json:"keys"`    // a JSON Web Key Set
}

const (
	byFetched = "fetched"
	// signingKeysKept is how long unused records are kept. Gates use keys for a
	// day.
	signingKeysKept = 7 * 24 * time.Hour
	maxClockSkew    = 5 * time.Minute // between gates
)

// SigningKeys returns the remembered keys of a URL. The error is [ErrNotFound] if
// there are none, and [ErrUnavailable] if the store is unreachable.
func (c *Catalog) SigningKeys(ctx context.Context, url string) (SigningKeys, error) {
	var keys SigningKeys
	err := c.store.Lookup(ctx, func(r Reader) (err error) {
		keys, err = signingKeysOf(r, url)
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		err = unavailable(err)
	}
	return keys, err
}

// RememberSigningKeys replaces the remembered keys of a URL, unless the remembered
// ones are newer. Many gates may call it at the same time. A Catalog with a negative
// CatalogConfig.UsageInterval writes nothing.
func (c *Catalog) RememberSigningKeys(ctx context.Context, keys SigningKeys) error {
	if c.usage.interval == 0 {
		return nil
	}
	_, err := c.store.Update(ctx, func(w Writer) error {
		now := time.Now()
		known, err := signingKeysOf(w, keys.URL)
		switch {
		case err != nil && !errors.Is(err, ErrNotFound):
			return err
		case err == nil && known.Fetched.After(keys.Fetched) && known.Fetched.Before(now.Add(maxClockSkew)):
			return nil
		}
		body, err := json.Marshal(keys)
		if err != nil {
			return fmt.Errorf("appaccess: encoding signing keys of %s: %w", keys.URL, err)
		}
		return firstError(
			w.Put(Record{Kind: KindSigningKeys, ID: signingKeysID(keys.URL), Body: body, Index: []IndexEntry{
				{Name: byFetched, Value: signingKeysTime(keys.Fetched)},
			}}),
			forgetSigningKeys(w, now.Add(-signingKeysKept)))
	})
	return err
}

func signingKeysID(url string) string {
	sum := sha256.Sum256([]byte(url)) // an ID is at most 200 bytes
	return hex.EncodeToString(sum[:])
}

func signingKeysTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func signingKeysOf(r Reader, url string) (SigningKeys, error) {
	rec, err := r.Get(KindSigningKeys, signingKeysID(url))
	if err != nil {
		return SigningKeys{}, err
	}
	var keys SigningKeys
	if err := json.Unmarshal(rec.Body, &keys); err != nil || keys.URL != url {
		return SigningKeys{}, notFound(KindSigningKeys, url)
	}
	return keys, nil
}

// forgetSigningKeys deletes the keys of endpoints that nobody fetches any more.
func forgetSigningKeys(w Writer, before time.Time) error {
	old, err := w.List(Query{Kind: KindSigningKeys, OrderBy: byFetched, To: signingKeysTime(before), Limit: 100})
	for _, rec := range old {
		if err == nil {
			err = w.Delete(KindSigningKeys, rec.ID)
		}
	}
	return err
}
