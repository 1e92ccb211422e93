package appaccess

import (
	"context"
	"iter"
)

// Store keeps what is wanted: small JSON records by kind and ID, with index
// entries to find them by. It holds no rules; [Service] does. Packages sqlite
// and postgres implement it, package storetest is the suite that every
// implementation passes.
//
// All methods are safe for concurrent use. An error that trying again later can
// help (the database is out of reach, locked or restarting, the store is
// closed) is [ErrUnavailable]; a record or query past the limits is an
// [*InvalidError].
type Store interface {
	// View runs fn on one consistent state. The Reader is valid until fn
	// returns. An error of fn is returned as it is.
	View(ctx context.Context, fn func(Reader) error) error

	// Update runs fn in a transaction that is serializable against all other
	// Updates, and commits if fn returns nil. It may run fn again, on a newer
	// state, so fn must have no effect but through its Writer. The Revision
	// returned is that of the commit; an Update that wrote nothing returns the
	// revision that it read. What Update acknowledged survives a crash. After
	// [ErrUnavailable] or the context's end it may have been committed all the
	// same, as when the connection was lost before the answer came.
	Update(ctx context.Context, fn func(Writer) error) (Revision, error)

	// Changes yields every change after a revision in commit order, and then
	// goes on as more are committed, by this process or any other, until the
	// context ends or the loop breaks. A store keeps a bounded history: if
	// changes after the revision are no longer known, the first one yielded is
	// a Reset; so too if the store is older than the revision, as after a
	// restore. Only a break parts the changes of one commit. An error ends the
	// iteration, the context's too; the caller may start again from the last
	// revision that it saw.
	Changes(ctx context.Context, after Revision) iter.Seq2[Change, error]

	// Close waits for running calls and frees what the store holds.
	Close() error
}

// Revision numbers the commits of a store: each Update that wrote something
// raises it. It never goes back.
type Revision int64

// Kind is the kind of a record: at most 32 lower-case letters.
type Kind string

// The kinds that Service keeps, and two that are for a Provisioner: package
// provision keeps its journal in the same store. Others may be added.
const (
	KindProduct      Kind = "product"
	KindAPI          Kind = "api"
	KindUser         Kind = "user"
	KindApplication  Kind = "application"
	KindCredential   Kind = "credential"
	KindSubscription Kind = "subscription"
	KindUse          Kind = "use"      // last use of a subscription
	KindHandover     Kind = "handover" // a sealed secret on its way to its owner
	KindAudit        Kind = "audit"
	KindJournal      Kind = "journal" // of provision: recorded IDs and operations under way
	KindLease        Kind = "lease"   // of provision: who is at work on an object
)

// Record is one object as a store keeps it. The limits are those that every
// store must accept, and [Record.Validate] the one that checks them: an ID of 1
// to 200 bytes of UTF-8 without NUL, a body of 1 MiB, 1,000 index entries with a
// value of at most 512 bytes, and 64 KiB of text.
type Record struct {
	Kind Kind
	ID   string
	Body []byte // JSON
	// Index holds the values to find the record by, such as {"owner", "u1"}.
	Index []IndexEntry
	// Text is what [Query.Text] searches, usually the names that people know.
	Text string
	// Revision is that of the commit that last wrote the record. Put ignores it.
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

// Query selects records of one kind, in ascending byte order of their IDs.
type Query struct {
	Kind Kind
	// Index and Value, if Index is not empty, select the records that have
	// that entry.
	Index, Value string
	// Text, if not empty, selects records whose Text contains it, ignoring
	// ASCII case. It is matched literally: no character is special.
	Text string
	// After skips IDs up to and including it: the last ID of the page before.
	After string
	// Descending turns the order round; After then skips IDs from it upwards.
	Descending bool
	// Limit is the most records to return; 0 is 1,000, which is also the most.
	Limit int
}

// MaxPage is the most records that one query returns.
const MaxPage = 1000

// Reader reads one state of the store. It is not safe for concurrent use.
type Reader interface {
	// Get returns a record, or an error that is [ErrNotFound].
	Get(kind Kind, id string) (Record, error)
	// List returns the records that a query selects. A page that is shorter
	// than the limit is the last one.
	List(Query) ([]Record, error)
	// Revision is the one of the state that is read.
	Revision() (Revision, error)
}

// Writer reads and writes one state of the store. It is not safe for
// concurrent use. It reads its own writes.
type Writer interface {
	Reader
	// Put writes a record, new or not. A unique entry that another record of
	// the kind holds gives a [*ConflictError] whose Field is the entry's name;
	// the transaction is then still usable and unchanged by the call.
	Put(Record) error
	// Delete removes a record. One that is not there is no error.
	Delete(kind Kind, id string) error
}

// Change says that a record was written or removed.
type Change struct {
	Revision Revision
	Kind     Kind
	ID       string
	// Reset means that changes were missed: anything may be different. Kind
	// and ID are then empty and Revision is the store's newest.
	Reset bool
}
