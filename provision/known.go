package provision

import (
	"errors"
	"slices"

	"github.com/entragate/entragate/appaccess"
)

// known is a Reader that reads each record by its ID only once, so that many
// objects are loaded with few queries.
type known struct {
	appaccess.Reader
	records map[recordID]*appaccess.Record // nil: there is no such record
}

type recordID struct {
	kind appaccess.Kind
	id   string
}

// newKnown returns a Reader that has read some records already.
func newKnown(r appaccess.Reader, read []appaccess.Record) *known {
	k := &known{r, map[recordID]*appaccess.Record{}}
	for _, rec := range read {
		k.records[recordID{rec.Kind, rec.ID}] = &rec
	}
	return k
}

// readAll reads records by their IDs, many with one query.
func (k *known) readAll(kind appaccess.Kind, ids []string) error {
	ids = slices.DeleteFunc(ids, func(id string) bool { return k.records[recordID{kind, id}] != nil })
	for some := range slices.Chunk(ids, appaccess.MaxPage) {
		found, err := k.Find(kind, "", some)
		if err != nil {
			return err
		}
		for _, id := range some {
			k.records[recordID{kind, id}] = nil
		}
		for _, rec := range found {
			k.records[recordID{kind, rec.ID}] = &rec
		}
	}
	return nil
}

func (k *known) Get(kind appaccess.Kind, id string) (appaccess.Record, error) {
	key := recordID{kind, id}
	rec, ok := k.records[key]
	if !ok {
		got, err := k.Reader.Get(kind, id)
		switch {
		case err == nil:
			rec = &got
		case !errors.Is(err, appaccess.ErrNotFound):
			return got, err
		}
		k.records[key] = rec
	}
	if rec == nil {
		return appaccess.Record{}, appaccess.ErrNotFound
	}
	return *rec, nil
}
