package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/process"
)

// Journal keeps, for each object, what was recorded of it and what is under
// way, and leases objects so that one engine works on one at a time. What a
// method acknowledged must survive a crash. All methods are safe for
// concurrent use, by several processes too.
type Journal interface {
	// Load reads entries. Objects that have none are missing from the map.
	Load(ctx context.Context, objects []string) (map[string]Entry, error)
	// Save writes an entry under the lease of a holder, who must still have
	// it: else [ErrLeaseLost], and nothing is written.
	Save(ctx context.Context, holder string, e Entry) error
	// Lease takes or prolongs the lease of an object. If another holder has it
	// and its end is after now, the error is a [*LeasedError]. A lease whose
	// holder is known to have died may be given to another before its end.
	Lease(ctx context.Context, object, holder string, now, until time.Time) error
	// Release ends a lease. One that is not held is no error.
	Release(ctx context.Context, object, holder string) error
}

// LeasedError says that another holder has the lease.
type LeasedError struct {
	Object string
	Until  time.Time
}

func (e *LeasedError) Error() string {
	return fmt.Sprintf("%s is leased until %s", e.Object, e.Until.Format(time.RFC3339))
}

// Entry is what the journal holds of one object. It never holds a secret.
type Entry struct {
	Object             string    `json:"object"` // its uniqueName: the key
	ObjectID           string    `json:"objectId,omitempty"`
	AppID              string    `json:"appId,omitempty"`
	ServicePrincipalID string    `json:"servicePrincipalId,omitempty"`
	RoleID             string    `json:"roleId,omitempty"`
	Role               string    `json:"role,omitempty"`
	Adopted            bool      `json:"adopted,omitempty"`  // stood before us: never deleted
	Disabled           bool      `json:"disabled,omitempty"` // the service principal was disabled by us
	Touched            time.Time `json:"touched,omitzero"`   // of the last write, or the intent of one
	Removed            time.Time `json:"removed,omitzero"`   // we deleted it
	// Want is the digest of what Entra was last brought fully in step with;
	// empty while work is under way.
	Want        string              `json:"want,omitempty"`
	Grants      []Grant             `json:"grants,omitempty"` // made by us, or about to be
	Credentials []ManagedCredential `json:"credentials,omitempty"`
	Attempts    []Attempt           `json:"attempts,omitempty"`
	// RemovedKeys are certificates that we removed last. A replica may still
	// show them, and they must not be written back.
	RemovedKeys []string `json:"removedKeys,omitempty"`
	Version     int64    `json:"version"` // raised by each Save of the engine
}

// Grant is an app role of a product that an application holds because of us.
type Grant struct {
	ProductID     string `json:"productId"`
	ResourceAppID string `json:"resourceAppId"`
	ResourceID    string `json:"resourceId"`
	RoleID        string `json:"roleId"`
}

// ManagedCredential is a credential that we added and that its taker has.
type ManagedCredential struct {
	OperationID string `json:"operationId"`
	appaccess.Credential
}

// Attempt is a credential that is being added: nobody has acknowledged it. What
// is left of one after a crash is removed.
type Attempt struct {
	Label       string                   `json:"label"` // its display name in Entra ends so
	OperationID string                   `json:"operationId"`
	Kind        appaccess.CredentialKind `json:"kind"`
	KeyID       string                   `json:"keyId,omitempty"` // once known
	At          time.Time                `json:"at"`
}

// NewStoreJournal keeps the journal in a store, next to the Service's records.
func NewStoreJournal(s appaccess.Store) Journal { return storeJournal{s} }

type storeJournal struct{ store appaccess.Store }

type lease struct {
	Holder  string    `json:"holder"`
	Process string    `json:"process,omitempty"`
	Until   time.Time `json:"until"`
}

func (j storeJournal) Load(ctx context.Context, objects []string) (map[string]Entry, error) {
	entries := make(map[string]Entry, len(objects))
	err := j.store.View(ctx, func(r appaccess.Reader) error {
		clear(entries)
		for _, o := range objects {
			var e Entry
			found, err := getJSON(r, appaccess.KindJournal, o, &e)
			if err != nil {
				return err
			}
			if found {
				entries[o] = e
			}
		}
		return nil
	})
	return entries, err
}

func (j storeJournal) Save(ctx context.Context, holder string, e Entry) error {
	_, err := j.store.Update(ctx, func(w appaccess.Writer) error {
		var l lease
		if _, err := getJSON(w, appaccess.KindLease, e.Object, &l); err != nil {
			return err
		}
		if l.Holder != holder {
			return ErrLeaseLost
		}
		return putJSON(w, appaccess.KindJournal, e.Object, e)
	})
	return err
}

func (j storeJournal) Lease(ctx context.Context, object, holder string, now, until time.Time) error {
	_, err := j.store.Update(ctx, func(w appaccess.Writer) error {
		var l lease
		if _, err := getJSON(w, appaccess.KindLease, object, &l); err != nil {
			return err
		}
		if l.Holder != "" && l.Holder != holder && l.Until.After(now) && !process.Dead(l.Process) {
			return &LeasedError{Object: object, Until: l.Until}
		}
		return putJSON(w, appaccess.KindLease, object, lease{Holder: holder, Process: process.ID(), Until: until})
	})
	return err
}

func (j storeJournal) Release(ctx context.Context, object, holder string) error {
	_, err := j.store.Update(ctx, func(w appaccess.Writer) error {
		var l lease
		if _, err := getJSON(w, appaccess.KindLease, object, &l); err != nil || l.Holder != holder {
			return err
		}
		return w.Delete(appaccess.KindLease, object)
	})
	return err
}

func getJSON(r appaccess.Reader, kind appaccess.Kind, id string, v any) (bool, error) {
	rec, err := r.Get(kind, id)
	if errors.Is(err, appaccess.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(rec.Body, v); err != nil {
		return false, fmt.Errorf("%s %s: %w", kind, id, err)
	}
	return true, nil
}

func putJSON(w appaccess.Writer, kind appaccess.Kind, id string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind, id, err)
	}
	return w.Put(appaccess.Record{Kind: kind, ID: id, Body: body})
}
