package appaccess

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Order is the order of a list.
type Order string

// The orders. Not every list has each of them.
const (
	ByID      Order = ""
	ByName    Order = "name"    // ignoring case
	ByCreated Order = "created" // oldest first
	// ByExpiry lists subscriptions that expire, in the order of their expiry.
	ByExpiry Order = "expiry"
)

// orderIndexes are the indexes for the orders of each kind.
var orderIndexes = map[Order]struct {
	index string
	kinds []Kind
}{
	ByName:    {byTitle, []Kind{KindProduct, KindAPI, KindUser, KindApplication, KindSubscription}},
	ByCreated: {byCreated, []Kind{KindProduct, KindAPI, KindUser, KindApplication, KindSubscription, KindRequest}},
	ByExpiry:  {byExpiry, []Kind{KindSubscription}},
}

// listQuery is the query of a Filter for one kind.
type listQuery struct {
	Query
	words  []string // the record has words that begin with these; the rarest are likely first
	email  string   // the search, if it may be the mail address of a user
	before string   // the page before this place; After is then empty
	total  bool
}

// query returns the store's query and the page limit of a Filter.
func (f Filter) query(kind Kind) (listQuery, int, error) {
	limit := f.Limit
	switch {
	case limit == 0:
		limit = 100
	case limit < 0 || limit > maxList:
		return listQuery{}, 0, &InvalidError{"limit", fmt.Sprintf("must be 1 to %d, or 0 for 100", maxList)}
	case f.After != "" && f.Before != "":
		return listQuery{}, 0, &InvalidError{"before", "must be empty if after is set"}
	}
	for field, v := range map[string]string{
		"search": f.Search, "after": f.After, "before": f.Before, "ownerId": f.OwnerID, "state": f.State, "productId": f.ProductID,
	} {
		if err := checkText(field, v, 0, maxName); err != nil {
			return listQuery{}, 0, err
		}
	}
	q := listQuery{words: searchWords(f.Search), total: f.Total}
	if kind == KindUser && strings.Contains(f.Search, "@") {
		q.email = fold(f.Search)
	}
	if f.Order != ByID {
		order, known := orderIndexes[f.Order]
		if !known || !slices.Contains(order.kinds, kind) {
			return listQuery{}, 0, &InvalidError{"order", "must be one that the list has"}
		}
		q.OrderBy = order.index
	}
	q.Kind, q.Descending = kind, f.Descending
	for index, value := range map[string]string{byOwner: f.OwnerID, byState: f.State, byProduct: f.ProductID} {
		if value != "" {
			q.Where = append(q.Where, where(index, value)...)
		}
	}
	if f.NotInSync {
		q.Where = append(q.Where, where(bySync, syncListed)...)
	}
	var err1, err2 error
	q.After, err1 = q.decodePlace("after", f.After)
	q.before, err2 = q.decodePlace("before", f.Before)
	return q, limit, firstError(err1, err2)
}

// decodePlace reverses encodePlace. A cursor is encoded because the cursor of a query
// with OrderBy contains a NUL, which some proxies refuse.
func (q listQuery) decodePlace(field, place string) (string, error) {
	if q.OrderBy == "" || place == "" {
		return place, nil
	}
	cursor, err := base64.RawURLEncoding.DecodeString(place)
	if err != nil || strings.Count(string(cursor), "\x00") != 1 {
		return "", &InvalidError{field, "must be the Next or the Previous of another page"}
	}
	return string(cursor), nil
}

func (q listQuery) encodePlace(r Record) string {
	if q.OrderBy == "" {
		return r.ID
	}
	return base64.RawURLEncoding.EncodeToString([]byte(q.Cursor(r)))
}

// selects reports whether a record has all words.
func (q listQuery) selects(r Record) bool {
	return !slices.ContainsFunc(q.words, func(word string) bool {
		return !slices.ContainsFunc(r.Index, func(e IndexEntry) bool { return e.Name == byWord && strings.HasPrefix(e.Value, word) })
	})
}

// listItem is a record of a list with the entity that it holds.
type listItem[T entity] struct {
	record Record
	entity T
}

// list returns one page of the entities that keep accepts. With search words, it
// reads all records that have one of the words, if they are fewer than MaxPage;
// otherwise it walks the requested order, where matches are then frequent.
func list[T entity](r Reader, q listQuery, limit int, keep func(*T) bool) (Page[T], error) {
	q.Kind = kindOf[T]()
	if len(q.words) > 0 {
		items, ok, err := search(r, q, keep)
		if err != nil || ok {
			return paged(q, items, limit), err
		}
	}
	items, err := walk(r, q.turned(), limit+1, keep)
	if err != nil {
		return Page[T]{}, err
	}
	found := onePage(q, items, limit)
	switch {
	case !q.total:
	case q.After == "" && q.before == "" && found.Next == "":
		found.Total = len(items) // the first page holds everything
	default:
		found.Total, found.AtLeast, err = q.count(r)
	}
	return found, err
}

// turned returns the query in the direction in which a page is read: the page before
// another is read backwards.
func (q listQuery) turned() listQuery {
	if q.before != "" {
		q.After, q.Descending = q.before, !q.Descending
	}
	return q
}

// onePage makes a page of the entities that were read for it: one more than fit, if
// there are more.
func onePage[T entity](q listQuery, items []listItem[T], limit int) Page[T] {
	backwards, more := q.before != "", len(items) > limit
	items = items[:min(limit, len(items))]
	if backwards {
		slices.Reverse(items)
	}
	var found Page[T]
	for _, one := range items {
		found.Items = append(found.Items, one.entity)
	}
	if len(items) == 0 {
		return found
	}
	if more || backwards {
		found.Next = q.encodePlace(items[len(items)-1].record)
	}
	if backwards && more || !backwards && q.After != "" {
		found.Previous = q.encodePlace(items[0].record)
	}
	return found
}

// paged returns a page of everything that the query selects, in any order.
func paged[T entity](q listQuery, items []listItem[T], limit int) Page[T] {
	total, way := len(items), q.turned()
	compare := func(a, b string) int {
		if way.Descending {
			a, b = b, a
		}
		return strings.Compare(a, b)
	}
	slices.SortFunc(items, func(a, b listItem[T]) int { return compare(way.Cursor(a.record), way.Cursor(b.record)) })
	if way.After != "" {
		items = slices.DeleteFunc(items, func(one listItem[T]) bool { return compare(way.Cursor(one.record), way.After) <= 0 })
	}
	found := onePage(q, items, limit)
	if q.total {
		found.Total = total
	}
	return found
}

// search returns all entities that have the words and that keep accepts, or, if the
// search is the mail address of users, these users only. It tries three words at most.
// ok is false if too many records have each of them.
func search[T entity](r Reader, q listQuery, keep func(*T) bool) (items []listItem[T], ok bool, err error) {
	var batch []Record
	if q.email != "" {
		batch, err = r.List(Query{Kind: q.Kind, Where: slices.Concat(q.Where, where(byEmail, q.email)), Limit: MaxPage})
		if ok = len(batch) > 0; err != nil {
			return nil, false, err
		}
	}
	for _, word := range q.words[:min(3, len(q.words))] {
		if ok {
			break
		}
		batch, err = r.List(Query{Kind: q.Kind, Where: q.Where, Limit: MaxPage}.Prefix(byWord, word))
		if ok = err == nil && len(batch) < MaxPage; ok || err != nil {
			break
		}
	}
	if !ok {
		return nil, false, err
	}
	for _, rec := range batch {
		if !q.selects(rec) || q.OrderBy != "" && strings.HasPrefix(q.Cursor(rec), "\x00") {
			continue
		}
		v, err := decode[T](rec)
		if err != nil {
			return nil, false, err
		}
		if keep(&v) {
			items = append(items, listItem[T]{rec, v})
		}
	}
	return items, true, nil
}

// walk reads records in the order of the query until it has enough that match.
func walk[T entity](r Reader, q listQuery, enough int, keep func(*T) bool) ([]listItem[T], error) {
	var items []listItem[T]
	for q.Limit = enough; ; q.Limit = min(4*q.Limit, MaxPage) {
		batch, err := r.List(q.Query)
		if err != nil {
			return nil, err
		}
		for _, rec := range batch {
			if !q.selects(rec) {
				continue
			}
			v, err := decode[T](rec)
			if err != nil {
				return nil, err
			}
			if !keep(&v) {
				continue
			}
			if items = append(items, listItem[T]{rec, v}); len(items) == enough {
				return items, nil
			}
		}
		if len(batch) < q.Limit {
			return items, nil
		}
		q.After = q.Cursor(batch[len(batch)-1])
	}
}

// maxTotal bounds a count that the index alone answers, which is fast.
const maxTotal = 100_000_000

// count counts what the query selects on all pages. With several conditions, or with
// a search, atLeast reports that it stopped counting.
func (q listQuery) count(r Reader) (n int, atLeast bool, err error) {
	c := Query{Kind: q.Kind, Where: q.Where, OrderBy: q.OrderBy, From: q.From, To: q.To}
	part := q.OrderBy == byExpiry || q.OrderBy == byEnd // not every record has a value
	switch {
	case len(q.words) > 0:
		return MaxPage, true, nil
	case len(c.Where) == 0:
		if c.OrderBy == "" {
			c.OrderBy = byCreated // which deleted objects do not have
		}
		n, err = r.Count(c, maxTotal)
		return n, false, err
	case len(c.Where) == 1 && !part:
		c.OrderBy, c.From, c.To = "", "", ""
		n, err = r.Count(c, maxTotal)
		return n, false, err
	case !part:
		c.OrderBy, c.From, c.To = "", "", ""
	}
	n, err = r.Count(c, MaxPage+1)
	return min(n, MaxPage), n > MaxPage, err
}

const (
	maxWords = 64 // of a record
	maxWord  = 64 // bytes
)

// words splits texts into the words to search for, in lower case, each once.
func words(texts ...string) []string {
	var found []string
	for _, text := range texts {
		for word := range strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool { return !unicode.In(r, unicode.Letter, unicode.Digit, unicode.Mark) }) {
			if len(word) > maxWord {
				word = strings.ToValidUTF8(word[:maxWord], "")
			}
			if len(found) < maxWords && !slices.Contains(found, word) {
				found = append(found, word)
			}
		}
	}
	return found
}

// searchWords returns the words of a search in the order in which they are tried: long
// words are rarer than short ones, and all mail addresses of an organisation end alike.
func searchWords(text string) []string {
	name, domain, _ := strings.Cut(text, "@")
	byLength := func(a, b string) int { return len(b) - len(a) }
	tried := slices.SortedStableFunc(slices.Values(words(name)), byLength)
	for _, word := range slices.SortedStableFunc(slices.Values(words(domain)), byLength) {
		if !slices.Contains(tried, word) {
			tried = append(tried, word)
		}
	}
	return tried
}

// searchable returns the index entries by which texts are found.
func searchable(texts ...string) []IndexEntry {
	var found []IndexEntry
	for _, word := range words(texts...) {
		found = append(found, IndexEntry{Name: byWord, Value: word})
	}
	return found
}
