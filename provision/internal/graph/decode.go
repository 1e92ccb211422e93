package graph

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Reading JSON costs more than its bytes: 16 MiB of small values can become a
// gigabyte of structs. The number of JSON tokens is therefore limited too. A real
// object of the largest size, 1,200 entries in all its collections, has about
// 25,000 tokens.
const (
	itemTokens  = 500_000
	batchTokens = 2_000_000 // of a $batch, whose items are decoded one by one
	maxPage     = 1_000     // items of one page; Graph gives at most 999
)

// decode reads a JSON object of at most limit tokens into v. It refuses duplicate
// names.
func decode(body []byte, limit int, v any) error {
	if err := checkWork(body, limit); err != nil {
		return fmt.Errorf("graph: unreadable answer of %d bytes: %w", len(body), err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("graph: unreadable answer of %d bytes: %w", len(body), clean(err))
	}
	return nil
}

// checkWork counts the tokens of a JSON object without decoding it.
func checkWork(body []byte, limit int) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(body))
	if kind := d.PeekKind(); kind != '{' {
		return errors.New("not a JSON object")
	}
	for range limit {
		if _, err := d.ReadToken(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return clean(err)
		}
	}
	return fmt.Errorf("more than %d JSON values", limit)
}

// clean keeps what a decoder's error quotes of the answer out of logs that a
// control character could break.
func clean(err error) error { return errors.New(printable(err.Error(), 300)) }

// page is one page of a list.
type page[W any] struct {
	Value items[W] `json:"value"`
	Next  string   `json:"@odata.nextLink"`
}

// items is a list of at most maxPage items.
type items[W any] []W

// UnmarshalJSONFrom reads a list item by item, so that a list of too many items
// is refused before it is stored.
func (l *items[W]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '[' {
		return errors.New("value is not a list")
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	*l = items[W]{}
	for d.PeekKind() != ']' {
		if len(*l) == maxPage {
			return fmt.Errorf("a page of more than %d items", maxPage)
		}
		var item W
		if err := json.UnmarshalDecode(d, &item); err != nil {
			return err
		}
		*l = append(*l, item)
	}
	_, err := d.ReadToken()
	return err
}
