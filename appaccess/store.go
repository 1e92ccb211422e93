package appaccess

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"
)

// Store keeps the desired state: small JSON records by kind and ID, with index
// entries to find them by. It knows nothing of the rules, which are in [Service].
// Packages sqlite and postgres implement it. Every implementation passes the tests of
// package storetest.
//
// All methods are safe for concurrent use. If trying again later can help (the
// database is unreachable, locked or restarting, the store is closed), the error is
// [ErrUnavailable]. A record or query beyond the limits is an [*InvalidError].
type Store interface {
	// View runs fn on one consistent state. The Reader is valid until fn returns.
	// View returns an error of fn unchanged. Views share a bounded pool of
	// connections. If all are in use, View waits; if the wait ends in an error, the
	// error says so.
	View(ctx context.Context, fn func(Reader) error) error

	// Lookup is View for short indexed reads that must not wait for Views, such as
	// the reads of a gate. Lookups and Changes have connections of their own.
	Lookup(ctx context.Context, fn func(Reader) error) error

	// Update runs fn in a transaction that is serializable against all other
	// Updates, and commits if fn returns nil. It may run fn again, on a newer
	// state, so fn must have no effect except through its Writer. The Revision
	// returned is the revision of the commit; an Update that wrote nothing returns the
	// revision that it read. An acknowledged Update survives a crash. After
	// [ErrUnavailable] or the context's end the transaction may have been
	// committed, as when the connection was lost before the answer arrived.
	Update(ctx context.Context, fn func(Writer) error) (Revision, error)

	// Changes yields every change after a position, except changes of [KindUsage], in
	// commit order. It continues with the changes that this process or another
	// commits later, until the context ends or the loop breaks. Whenever it has
	// yielded everything, and at least every second, it yields a Change with AsOf.
	//
	// A store keeps a bounded history. The first Change is a Reset if the store no
	// longer knows the changes after the position, or if the position is not part of
	// its history, for example after a restore or a failover that lost commits. The
	// zero Position is the beginning of every history. All changes of one commit are
	// yielded unless the loop breaks. An error, also of the context, ends the
	// iteration; the caller may start again from the last position that it saw.
	Changes(ctx context.Context, after Position) iter.Seq2[Change, error]

	// Close waits for running calls and releases the store's resources.
	Close() error
}

// Revision numbers the commits of a store: each Update that wrote something
// raises it by one.
type Revision int64

// Position is a place in the history of a store: the revision of a commit, and the
// random number of that commit. After a failover or a restore that lost commits, new
// commits get the revisions of the lost commits, but other numbers.
type Position struct {
	Revision Revision
	Commit   int64
}

// Kind is the kind of a record: at most 32 lower-case letters.
type Kind string

// The kinds of the Service's records, and of the provisioning state that package
// provision keeps in the same store. Other packages may add kinds.
const (
	KindProduct       Kind = "product"
	KindAPI           Kind = "api"
	KindUser          Kind = "user"
	KindApplication   Kind = "application"
	KindCredential    Kind = "credential"
	KindSubscription  Kind = "subscription"
	KindOneTimeSecret Kind = "onetimesecret" // a sealed secret that waits for its owner
	KindAudit         Kind = "audit"
	KindRequest       Kind = "request"      // from a person to the managers
	KindTransfer      Kind = "transfer"     // an offer to give an object another owner
	KindTask          Kind = "task"         // the rest of a change that concerns many objects
	KindDocument      Kind = "document"     // the document from which an API's operations were imported
	KindSigningKeys   Kind = "signingkeys"  // of a token issuer, for gates that start while it is unreachable
	KindProvisioning  Kind = "provisioning" // of provision: recorded IDs and operations under way
	KindInstallation  Kind = "installation" // of provision: this store's identity in Entra
	KindLock          Kind = "lock"         // of provision: which call reconciles an object
)

// Record is one object as a store keeps it. [Record.Validate] checks the limits
// that every store must accept: an ID of 1 to 200 bytes of UTF-8 without NUL, a
// body of 1 MiB, and 1,200 index entries with a value of at most 512 bytes.
type Record struct {
	Kind Kind
	ID   string
	Body []byte // JSON
	// Index holds the values to find the record by, such as {"owner", "u1"}.
	Index []IndexEntry
	// Revision is the revision of the commit that last wrote the record. Put ignores it.
	Revision Revision
}

// IndexEntry is a value of a record to find it by.
type IndexEntry struct {
	Name  string
	Value string
	// Unique refuses a second record of the kind with the same name and value.
	// All entries of one name are unique or none is.
	Unique bool
}

// Query selects records of one kind, in ascending byte order of their IDs or of
// the values of one index. A query with no or one condition reads the rows that
// it returns. One with several conditions reads the records of the condition
// that the fewest records meet, if those are at most [MaxPage]; else it walks
// the order asked for and skips what does not match.
type Query struct {
	Kind Kind
	// Where selects the records that have all these entries. Unique is ignored.
	Where []IndexEntry
	// OrderBy, if not empty, names an index. The query then selects the records with
	// a value of the index from From up to but not including To, in the order of the
	// values, and of the IDs among equal values. An empty To means no upper bound. A record
	// with several such values is returned once, at its first value in the order.
	OrderBy  string
	From, To string
	// After skips everything up to and including a place in the order: the
	// [Query.Cursor] of the last record of the previous page.
	After string
	// Descending reverses the order; After then skips everything from its place
	// upwards. To read the previous page, reverse the order, start at the Cursor of
	// the first record of the present page, and reverse the result.
	Descending bool
	// Limit is the most records to return: 1,000 if zero, which is also the maximum.
	Limit int
}

// MaxPage is the most records that a query returns, and the most values that a Find
// takes.
const MaxPage = 1000

// Cursor returns the After with which the query continues behind a record: the
// record's ID or, with OrderBy, its value, a NUL and its ID. The record need not
// exist any more.
func (q Query) Cursor(r Record) string {
	if q.OrderBy == "" {
		return r.ID
	}
	var values []string
	for _, e := range r.Index {
		if e.Name == q.OrderBy && e.Value >= q.From && (q.To == "" || e.Value < q.To) {
			values = append(values, e.Value)
		}
	}
	switch {
	case len(values) == 0:
		return "\x00" + r.ID
	case q.Descending:
		return slices.Max(values) + "\x00" + r.ID
	}
	return slices.Min(values) + "\x00" + r.ID
}

// Place returns the value and the ID in After. The value is empty without OrderBy.
func (q Query) Place() (value, id string) {
	if q.OrderBy == "" {
		return "", q.After
	}
	value, id, _ = strings.Cut(q.After, "\x00")
	return value, id
}

// Prefix returns the query with OrderBy, From and To set to select the records that
// have a value of an index that begins with prefix.
func (q Query) Prefix(index, prefix string) Query {
	q.OrderBy, q.From, q.To = index, prefix, prefix+"\U0010ffff"
	return q
}

// Reader reads one state of the store. It is not safe for concurrent use.
type Reader interface {
	// Get returns a record, or an error that is [ErrNotFound].
	Get(kind Kind, id string) (Record, error)
	// Find returns the records of a kind that have one of the values of an index or,
	// if index is empty, one of these IDs: each once, in no order. It skips values
	// that no record has. It takes at most 1,000 values.
	Find(kind Kind, index string, values []string) ([]Record, error)
	// List returns the records that a query selects. A page that is shorter
	// than the limit is the last one.
	List(Query) ([]Record, error)
	// Count returns how many records a query selects. It stops counting at most, and
	// ignores After and Limit. A query with OrderBy and no Where counts a record once
	// for each of its values.
	Count(q Query, most int) (int, error)
	// Position returns the position of the state that is read.
	Position() (Position, error)
}

// Writer reads and writes one state of the store. It is not safe for
// concurrent use. It reads its own writes.
type Writer interface {
	Reader
	// Put creates or replaces a record. If another record of the kind has one of its
	// unique entries, the error is a [*ConflictError] whose Field is the entry's
	// name; the call then changed nothing, and the transaction can continue.
	Put(Record) error
	// Delete removes a record. It does nothing if the record does not exist.
	Delete(kind Kind, id string) error
}

// Change says that a record was written or deleted. If Reset is set or AsOf is not
// zero, it is a message of the feed itself, and Kind and ID are empty.
type Change struct {
	// Position is the position of the commit, or the newest of the store.
	Position
	Kind Kind
	ID   string
	// Reset means that changes were missed: anything may have changed.
	Reset bool
	// AsOf means that all changes that were committed before this time, by the
	// clock of this process, have been yielded.
	AsOf time.Time
}
