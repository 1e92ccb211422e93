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

// state is the provisioning state: for each object an entry and, while a lock
// holder works on it, a lock. It is kept in the Service's store. What a method
// acknowledged survives a crash of the process. All methods are safe for
// concurrent use, by several processes too.
type state struct{ store appaccess.Store }

// entry is the provisioning state of one object. It never holds a secret.
type entry struct {
	Object             string `json:"object"` // its uniqueName: the key
	Kind               string `json:"kind,omitempty"`
	ID                 string `json:"id,omitempty"`
	ObjectID           string `json:"objectId,omitempty"`
	AppID              string `json:"appId,omitempty"`
	ServicePrincipalID string `json:"servicePrincipalId,omitempty"`
	// Nonce proves the application until its object ID is recorded, and is part of
	// what is signed.
	Nonce string `json:"nonce,omitempty"`
	// Replacing: the recorded application is gone, and another one is created. Until
	// its object ID is recorded, the nonce proves it.
	Replacing bool `json:"replacing,omitempty"`
	// Accepted is a signature of a lost key that was taken over.
	Accepted string `json:"accepted,omitempty"`
	// Recovered: the application was found by its proof, or its state was taken
	// over. What it has of ours is not recorded, so it is removed. It ends when
	// replicas show all that the object had: see recoveryEnds.
	Recovered   bool             `json:"recovered,omitempty"`
	Roles       []appaccess.Role `json:"roles,omitempty"`      // app roles of a product that are ours
	Adopted     bool             `json:"adopted,omitempty"`    // existed before us: never deleted
	Existing    bool             `json:"existing,omitempty"`   // an existing service principal: only its grants are ours
	Original    *original        `json:"original,omitempty"`   // what an adopted application held before
	Disabled    bool             `json:"disabled,omitempty"`   // we disabled the service principal
	LastWritten time.Time        `json:"lastWritten,omitzero"` // of the last write, or the intent of one
	Removed     time.Time        `json:"removed,omitzero"`     // we deleted it
	// InSyncWith is the digest of the desired state that Entra was last brought
	// in sync with; empty while work is under way.
	InSyncWith         string              `json:"inSyncWith,omitempty"`
	Grants             []recordedGrant     `json:"grants,omitempty"` // made by us, or about to be
	Credentials        []managedCredential `json:"credentials,omitempty"`
	PendingCredentials []pendingCredential `json:"attempts,omitempty"`
	// Revoking are revocations that are not confirmed.
	Revoking []revocation `json:"revoking,omitempty"`
	// Due is when the object must be read again; zero: no work is left.
	Due time.Time `json:"due,omitzero"`
	// RemovedKeys are certificates that we removed last. A replica may still
	// show them, and they must not be written back.
	RemovedKeys []string `json:"removedKeys,omitempty"`
	Version     int64    `json:"version"` // raised by each save
}

// recordedGrant is an app role of a product that an application holds because of us.
type recordedGrant struct {
	ProductID     string `json:"productId"`
	Permission    string `json:"permission"`
	ResourceAppID string `json:"resourceAppId"`
	ResourceID    string `json:"resourceId"`
	RoleID        string `json:"roleId"`
	AssignmentID  string `json:"assignmentId,omitempty"` // once known
}

// same compares grants without their assignment's ID.
func (g recordedGrant) same(h recordedGrant) bool {
	g.AssignmentID, h.AssignmentID = "", ""
	return g == h
}

// managedCredential is a credential that we added and delivered.
type managedCredential struct {
	OperationID string `json:"operationId"`
	appaccess.Credential
}

// pendingCredential is a credential that was requested from Graph, or is about to
// be, and was not delivered. After a crash it is removed.
type pendingCredential struct {
	Tag         string                   `json:"tag"` // the operation tag: its display name in Entra ends so
	OperationID string                   `json:"operationId"`
	Kind        appaccess.CredentialKind `json:"kind"`
	KeyID       string                   `json:"keyId,omitempty"` // once known
	At          time.Time                `json:"at"`
}

// indexDue marks the entries that have a Due.
var indexDue = appaccess.IndexEntry{Name: "due", Value: "set"}

// keptAfterRemoval is how long the entry of an object that we deleted is kept. For
// 30 days Entra can restore it; after that nothing of it is left.
const keptAfterRemoval = 31 * 24 * time.Hour

// indexRemoved is when an object was removed for which nothing is left to do.
const indexRemoved = "removed"

func removedAt(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// purge deletes up to 50 entries of objects that Entra has purged.
func (s state) purge(ctx context.Context, now time.Time) error {
	q := appaccess.Query{
		Kind: appaccess.KindProvisioning, OrderBy: indexRemoved, To: removedAt(now.Add(-keptAfterRemoval)), Limit: 50,
	}
	var old []appaccess.Record
	err := s.store.View(ctx, func(r appaccess.Reader) (err error) {
		old, err = r.List(q)
		return err
	})
	if err != nil || len(old) == 0 {
		return err
	}
	_, err = s.store.Update(ctx, func(w appaccess.Writer) error {
		old, err := w.List(q)
		for _, rec := range old {
			var l lease
			locked, lerr := getJSON(w, appaccess.KindLock, rec.ID, &l)
			if err = errors.Join(err, lerr); err == nil && !(locked && l.inForce(now)) {
				err = w.Delete(appaccess.KindProvisioning, rec.ID)
			}
		}
		return err
	})
	return err
}

// get reads the entry of an object; the entry is zero if there is none.
func (s state) get(r appaccess.Reader, object string) (e entry, err error) {
	_, err = getJSON(r, appaccess.KindProvisioning, object, &e)
	return e, err
}

// save writes an entry, for the lock holder only: if another holder has the
// lock, or nobody, the error is ErrLockLost and nothing is written. unlock ends
// the lock in the same transaction; also, if not nil, runs in it, and its error
// prevents it.
func (s state) save(ctx context.Context, holder string, e entry, unlock bool, also func(appaccess.Writer) error) error {
	_, err := s.store.Update(ctx, func(w appaccess.Writer) error {
		var l lease
		if _, err := getJSON(w, appaccess.KindLock, e.Object, &l); err != nil {
			return err
		}
		if l.Holder != holder {
			return ErrLockLost
		}
		if also != nil {
			if err := also(w); err != nil {
				return err
			}
		}
		if unlock {
			if err := w.Delete(appaccess.KindLock, e.Object); err != nil {
				return err
			}
		}
		return s.put(w, e)
	})
	return err
}

// indexObject is the object ID of the application. The store refuses two objects
// with the same application.
const indexObject = "object"

// managers returns the entries that have one of these applications, by object ID.
func (s state) managers(ctx context.Context, objectIDs []string) (map[string]entry, error) {
	found := map[string]entry{}
	err := s.store.View(ctx, func(r appaccess.Reader) error {
		recs, err := r.Find(appaccess.KindProvisioning, indexObject, objectIDs)
		for _, rec := range recs {
			var e entry
			if err := decodeJSON(rec, &e); err != nil {
				return err
			}
			found[e.ObjectID] = e
		}
		return err
	})
	return found, err
}

// put writes an entry.
func (state) put(w appaccess.Writer, e entry) error {
	var index []appaccess.IndexEntry
	if e.ObjectID != "" && e.Removed.IsZero() {
		index = []appaccess.IndexEntry{{Name: indexObject, Value: e.ObjectID, Unique: true}}
	}
	if !e.Due.IsZero() {
		index = append(index, indexDue)
	} else if !e.Removed.IsZero() {
		index = append(index, appaccess.IndexEntry{Name: indexRemoved, Value: removedAt(e.Removed)})
	}
	return putJSON(w, appaccess.KindProvisioning, e.Object, e, index...)
}

// unfinished calls fn for the entries that have a Due, and says whether a lock
// holder is at work on the object.
func (s state) unfinished(ctx context.Context, now time.Time, fn func(e entry, locked bool)) error {
	var found []entry
	var locked []bool
	err := s.store.View(ctx, func(r appaccess.Reader) error {
		found, locked = nil, nil
		q := appaccess.Query{Kind: appaccess.KindProvisioning, Where: []appaccess.IndexEntry{indexDue}, Limit: appaccess.MaxPage}
		for {
			recs, err := r.List(q)
			if err != nil {
				return err
			}
			for _, rec := range recs {
				var e entry
				if err := decodeJSON(rec, &e); err != nil {
					return err
				}
				var l lease
				if _, err := getJSON(r, appaccess.KindLock, e.Object, &l); err != nil {
					return err
				}
				found, locked = append(found, e), append(locked, l.inForce(now))
			}
			if len(recs) < appaccess.MaxPage {
				return nil
			}
			q.After = recs[len(recs)-1].ID
		}
	})
	for i := range found {
		fn(found[i], locked[i])
	}
	return err
}

// lease is the lock of an object. It expires, so that a process that died does not
// lock an object forever.
type lease struct {
	Holder  string    `json:"holder"`
	Process string    `json:"process,omitempty"`
	Until   time.Time `json:"until"` // the lock has ended at this instant
}

// inForce reports whether the lock still excludes others. A lock of a process
// that is known to have died does not.
func (l lease) inForce(now time.Time) bool {
	return l.Holder != "" && now.Before(l.Until) && !process.Dead(l.Process)
}

// lockedError says that another lock holder has the object.
type lockedError struct {
	Object string
	Until  time.Time
}

func (e *lockedError) Error() string {
	return fmt.Sprintf("%s is locked until %s", e.Object, e.Until.Format(time.RFC3339))
}

// lock takes or prolongs the lock of an object until an instant. If another
// holder has it, the error is a *lockedError. also, if not nil, runs in the same
// transaction.
func (s state) lock(ctx context.Context, object, holder string, now, until time.Time, also func(appaccess.Writer) error) error {
	_, err := s.store.Update(ctx, func(w appaccess.Writer) error {
		var l lease
		if _, err := getJSON(w, appaccess.KindLock, object, &l); err != nil {
			return err
		}
		if l.Holder != holder && l.inForce(now) {
			return &lockedError{Object: object, Until: l.Until}
		}
		if err := putJSON(w, appaccess.KindLock, object, lease{Holder: holder, Process: process.ID(), Until: until}); err != nil || also == nil {
			return err
		}
		return also(w)
	})
	return err
}

// unlock ends a lock. It does nothing if the holder does not have it.
func (s state) unlock(ctx context.Context, object, holder string) error {
	_, err := s.store.Update(ctx, func(w appaccess.Writer) error {
		var l lease
		if _, err := getJSON(w, appaccess.KindLock, object, &l); err != nil || l.Holder != holder {
			return err
		}
		return w.Delete(appaccess.KindLock, object)
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
	return true, decodeJSON(rec, v)
}

func decodeJSON(rec appaccess.Record, v any) error {
	if err := json.Unmarshal(rec.Body, v); err != nil {
		return fmt.Errorf("%s %s: %w", rec.Kind, rec.ID, err)
	}
	return nil
}

func putJSON(w appaccess.Writer, kind appaccess.Kind, id string, v any, index ...appaccess.IndexEntry) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind, id, err)
	}
	return w.Put(appaccess.Record{Kind: kind, ID: id, Body: body, Index: index})
}
