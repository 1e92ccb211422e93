package sqlstore

import (
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/entragate/entragate/appaccess"
)

// history is how many changes are kept for feeds. An eighth more stay, so that
// not every commit prunes.
const history = 1 << 14

// writer implements [appaccess.Writer]. Nobody else writes while its transaction
// is open, so it reads each record by its ID only once. A transaction that writes many
// records, such as audit records, must not ask the database about each: what a Put
// replaces is read later, for many together, if the Put cannot be a conflict.
type writer struct {
	*reader
	waiting map[appaccess.Kind][]appaccess.Record // such Puts, in order, each ID once
	changed map[Key]bool
	quiet   bool                     // records were written that the feed leaves out
	known   map[Key]appaccess.Record // a Record without an ID: the store has none
	failed  error                    // a write stopped half-way: the transaction must not commit
}

func newWriter(r *reader) *writer {
	return &writer{reader: r, changed: map[Key]bool{}, known: map[Key]appaccess.Record{}, waiting: map[appaccess.Kind][]appaccess.Record{}}
}

func (w *writer) Get(kind appaccess.Kind, id string) (appaccess.Record, error) {
	key := Key{kind, id}
	rec, ok := w.known[key]
	if !ok {
		var err error
		if rec, err = w.reader.Get(kind, id); err != nil && !errors.Is(err, appaccess.ErrNotFound) {
			return rec, err
		}
		w.known[key] = rec
	}
	if rec.ID == "" {
		return rec, notFound(kind, id)
	}
	rec.Body, rec.Index = slices.Clone(rec.Body), slices.Clone(rec.Index) // the caller's
	return rec, nil
}

// Find implements [appaccess.Reader]. A caller that writes many records
// finds them first: Put then reads none of them.
func (w *writer) Find(kind appaccess.Kind, index string, values []string) ([]appaccess.Record, error) {
	if err := w.flush(kind); err != nil {
		return nil, err
	}
	found, err := w.reader.Find(kind, index, values)
	if err != nil {
		return nil, err
	}
	w.remember(found)
	if index == "" {
		for _, id := range values {
			if key := (Key{kind, id}); w.known[key].ID == "" {
				w.known[key] = appaccess.Record{}
			}
		}
	}
	return found, nil
}

// List implements [appaccess.Reader].
func (w *writer) List(q appaccess.Query) ([]appaccess.Record, error) {
	if err := w.flush(q.Kind); err != nil {
		return nil, err
	}
	found, err := w.reader.List(q)
	w.remember(found)
	return found, err
}

// Count implements [appaccess.Reader].
func (w *writer) Count(q appaccess.Query, most int) (int, error) {
	if err := w.flush(q.Kind); err != nil {
		return 0, err
	}
	return w.reader.Count(q, most)
}

func (w *writer) remember(found []appaccess.Record) {
	for _, rec := range found {
		key := Key{rec.Kind, rec.ID}
		if _, ok := w.known[key]; !ok {
			rec.Body, rec.Index = slices.Clone(rec.Body), slices.Clone(rec.Index) // found is the caller's
			w.known[key] = rec
		}
	}
}

// run runs fn and commits.
func (w *writer) run(fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	if err := fn(w); err != nil {
		return 0, err
	}
	for kind := range w.waiting {
		_ = w.flush(kind) // failed says why
	}
	if w.failed != nil {
		return 0, w.failed // fn may have ignored a failed write
	}
	if len(w.changed) == 0 {
		if w.quiet {
			return w.meta.Revision, w.store.failure(w.ctx, w.tx.Commit())
		}
		return w.meta.Revision, nil
	}
	if err := w.commit(); err != nil {
		return 0, w.store.failure(w.ctx, err)
	}
	w.store.news.Ring()
	return w.meta.Revision + 1, nil
}

func (w *writer) commit() error {
	changed := make([]Key, 0, len(w.changed))
	for key := range w.changed {
		changed = append(changed, key)
	}
	kept, err := w.tx.Append(appaccess.Position{Revision: w.meta.Revision + 1, Commit: 1 + rand.Int64N(1<<62)}, changed)
	if err != nil {
		return err
	}
	if kept > history+history/8 {
		if err := w.tx.Prune(history, w.meta.Revision); err != nil {
			return err
		}
	}
	return w.tx.Commit()
}

func (w *writer) Put(rec appaccess.Record) error {
	if err := rec.Validate(); err != nil {
		return err
	}
	rec.Revision = w.meta.Revision + 1
	rec.Body, rec.Index = slices.Clone(rec.Body), slices.Clone(rec.Index)
	if rec.Body == nil {
		rec.Body = []byte{}
	}
	key := Key{rec.Kind, rec.ID}
	if _, read := w.known[key]; !read && !slices.ContainsFunc(rec.Index, unique) {
		w.waiting[rec.Kind] = append(w.waiting[rec.Kind], rec)
		w.touched(key, rec)
		if len(w.waiting[rec.Kind]) == appaccess.MaxPage {
			return w.flush(rec.Kind)
		}
		return nil
	}
	if err := w.flush(rec.Kind); err != nil {
		return err
	}
	old, err := w.Get(rec.Kind, rec.ID)
	if err != nil && !errors.Is(err, appaccess.ErrNotFound) {
		return w.fail(err)
	}
	if err := w.replace(old, rec); err != nil {
		return err
	}
	w.touched(key, rec)
	return nil
}

func unique(e appaccess.IndexEntry) bool { return e.Unique }

// replace writes a record in place of the one that it was.
func (w *writer) replace(old, rec appaccess.Record) error {
	dropped, added := without(old.Index, rec.Index), without(rec.Index, old.Index)
	if taken := slices.DeleteFunc(slices.Clone(added), func(e appaccess.IndexEntry) bool { return !e.Unique }); len(taken) > 0 {
		owner, name, err := w.tx.Owner(rec.Kind, rec.ID, taken)
		if err != nil {
			return w.fail(w.store.failure(w.ctx, err))
		}
		if owner != "" {
			return &appaccess.ConflictError{Field: name, Reason: "another record has this value", Objects: []string{owner}}
		}
	}
	if err := w.tx.Put(rec, dropped, added); err != nil {
		return w.fail(w.store.failure(w.ctx, err))
	}
	return nil
}

// flush does the Puts of a kind that wait.
func (w *writer) flush(kind appaccess.Kind) error {
	recs := w.waiting[kind]
	if len(recs) == 0 {
		return nil
	}
	delete(w.waiting, kind)
	ids := make([]string, len(recs))
	for i, rec := range recs {
		ids[i] = rec.ID
	}
	found, err := w.reader.Find(kind, "", ids)
	if err != nil {
		return w.fail(err)
	}
	old := map[string]appaccess.Record{}
	for _, rec := range found {
		old[rec.ID] = rec
	}
	for _, rec := range recs {
		if err := w.replace(old[rec.ID], rec); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) Delete(kind appaccess.Kind, id string) error {
	if err := w.flush(kind); err != nil {
		return err
	}
	old, err := w.Get(kind, id)
	if errors.Is(err, appaccess.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = w.store.failure(w.ctx, w.tx.Delete(old))
	}
	if err != nil {
		return w.fail(err)
	}
	w.touched(Key{kind, id}, appaccess.Record{})
	return nil
}

// touched notes what a record is now, and that the feed is to say so. The feed
// leaves out the rows of usage: every replica writes some each minute, and no reader
// waits for them.
func (w *writer) touched(key Key, now appaccess.Record) {
	w.known[key] = now
	if key.Kind == appaccess.KindUsage {
		w.quiet = true
		return
	}
	w.changed[key] = true
}

// fail remembers that a write stopped half-way.
func (w *writer) fail(err error) error {
	if w.failed == nil {
		w.failed = err
	}
	clear(w.known)
	return err
}

// without returns the entries of a that b does not have.
func without(a, b []appaccess.IndexEntry) []appaccess.IndexEntry {
	var rest []appaccess.IndexEntry
	for _, e := range a {
		if !slices.Contains(b, e) {
			rest = append(rest, e)
		}
	}
	return rest
}
