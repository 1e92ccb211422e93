package appaccess

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	strict "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	documentVersion = 1
	maxDocument     = 64 << 20 // bytes
	// maxUnordered is how many objects a section of a DocumentFile may have in any
	// order, because they are sorted in memory.
	maxUnordered = 10_000
)

// DocumentSource is what [Service.Import] and [Service.Diff] read: a [Document],
// or a [DocumentFile].
type DocumentSource interface {
	// sections returns the objects of each section by ID. It refuses mistakes that
	// can be found without the store.
	sections() (documentSections, error)
}

// documentSections are the objects of a document, in the order of their IDs.
type documentSections struct {
	apis          section[DocumentAPI]
	products      section[DocumentProduct]
	users         section[DocumentUser]
	applications  section[DocumentApplication]
	subscriptions section[DocumentSubscription]
}

// section yields the objects of a section. It is nil if the document does not have
// the section. An error is the last thing that it yields.
type section[D any] = iter.Seq2[D, error]

// entry is an object of a document.
type entry[D any] interface {
	*D
	key() string
	// check refuses mistakes that can be found without the store, and converts values
	// to the form in which they are stored.
	check() error
}

func (v *DocumentAPI) key() string          { return v.ID }
func (v *DocumentProduct) key() string      { return v.ID }
func (v *DocumentUser) key() string         { return v.ID }
func (v *DocumentApplication) key() string  { return v.ID }
func (v *DocumentSubscription) key() string { return v.ID }

// ParseDocument reads a document of at most 64 MiB. It is strict: unknown names,
// duplicate names, names in another letter case, invalid UTF-8 and text after the
// document are an [*InvalidError]. It ignores a member "$schema", by which editors
// find the [DocumentSchema].
func ParseDocument(r io.Reader) (Document, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return Document{}, fmt.Errorf("appaccess: read the document: %w", err)
	}
	if len(raw) > maxDocument {
		return Document{}, &InvalidError{"document", "must have at most 64 MiB: import a larger one with OpenDocument"}
	}
	f, err := OpenDocument(bytes.NewReader(raw))
	if err != nil {
		return Document{}, err
	}
	d := Document{Version: documentVersion}
	err = firstError(
		collectSection(f, "apis", &d.APIs),
		collectSection(f, "products", &d.Products),
		collectSection(f, "users", &d.Users),
		collectSection(f, "applications", &d.Applications),
		collectSection(f, "subscriptions", &d.Subscriptions),
	)
	return orZero(d, err)
}

func collectSection[D any, P entry[D]](f *DocumentFile, name string, into *[]D) error {
	place, ok := f.places[name]
	if !ok {
		return nil
	}
	*into = []D{}
	for v, err := range readSection[D, P](f, name, place) {
		if err != nil {
			return err
		}
		*into = append(*into, v)
	}
	return nil
}

// sections implements [DocumentSource].
func (d Document) sections() (documentSections, error) {
	if d.Version != documentVersion {
		return documentSections{}, errDocumentVersion()
	}
	var s documentSections
	return s, firstError(
		sortSection(&s.apis, "apis", d.APIs),
		sortSection(&s.products, "products", d.Products),
		sortSection(&s.users, "users", d.Users),
		sortSection(&s.applications, "applications", d.Applications),
		sortSection(&s.subscriptions, "subscriptions", d.Subscriptions),
	)
}

func errDocumentVersion() error {
	return &InvalidError{"version", fmt.Sprintf("must be %d", documentVersion)}
}

// sortSection checks the objects of a section and yields them by ID.
func sortSection[D any, P entry[D]](into *section[D], name string, list []D) error {
	if list == nil {
		return nil
	}
	sorted := slices.Clone(list)
	ids := make(map[string]bool, len(sorted))
	for i := range sorted {
		v := P(&sorted[i])
		if err := v.check(); err != nil {
			return at(name, i, err)
		}
		if ids[v.key()] {
			return twice(name, i, v.key())
		}
		ids[v.key()] = true
	}
	slices.SortFunc(sorted, byKeyOf[D, P])
	*into = func(yield func(D, error) bool) {
		for _, v := range sorted {
			if !yield(v, nil) {
				return
			}
		}
	}
	return nil
}

func byKeyOf[D any, P entry[D]](a, b D) int { return cmp.Compare(P(&a).key(), P(&b).key()) }

func twice(section string, i int, id string) error {
	return &InvalidError{fmt.Sprintf("%s[%d].id", section, i), fmt.Sprintf("%q is there twice", id)}
}

// DocumentFile is a document that each import reads piece by piece, so that its size
// does not matter. It is not safe for concurrent use.
type DocumentFile struct {
	r      io.ReadSeeker
	places map[string]sectionPlace
}

// sectionPlace is where a section begins.
type sectionPlace struct {
	offset int64 // of its bracket
	sorted bool
}

// OpenDocument reads a document once and checks it as strictly as [ParseDocument]
// does. r must not be used or changed while the DocumentFile is in use. A section of
// more than 10,000 objects must have them in the byte order of their IDs, as
// [Service.Export] writes them.
func OpenDocument(r io.ReadSeeker) (*DocumentFile, error) {
	f := &DocumentFile{r: r, places: map[string]sectionPlace{}}
	dec, err := f.decodeFrom(0)
	if err != nil {
		return nil, err
	}
	if err := f.scan(dec); err != nil {
		return nil, invalidDocument(err)
	}
	return f, nil
}

// decodeFrom returns a decoder that reads from an offset.
func (f *DocumentFile) decodeFrom(offset int64) (*jsontext.Decoder, error) {
	if _, err := f.r.Seek(offset, io.SeekStart); err != nil {
		return nil, fmt.Errorf("appaccess: read the document: %w", err)
	}
	return jsontext.NewDecoder(readErrors{f.r}), nil
}

// readErrors marks the errors of a reader, so that they are not reported as mistakes
// in the document.
type readErrors struct{ io.Reader }

type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

func (r readErrors) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // a Reader returns io.EOF unwrapped
		err = readError{err}
	}
	return n, err
}

// invalidDocument returns the error of a document that cannot be parsed.
func invalidDocument(err error) error {
	var failed readError
	var invalid *InvalidError
	switch {
	case errors.As(err, &failed):
		return fmt.Errorf("appaccess: read the document: %w", failed.error)
	case errors.As(err, &invalid):
		return err
	}
	return &InvalidError{"document", err.Error()}
}

// scan reads the whole document and notes where the sections begin.
func (f *DocumentFile) scan(dec *jsontext.Decoder) error {
	if err := expect(dec, '{', "an object"); err != nil {
		return err
	}
	version := 0
	for dec.PeekKind() != '}' {
		name, err := memberName(dec)
		if err != nil {
			return err
		}
		switch name {
		case "$schema": // for editors
			var address string
			if err := strict.UnmarshalDecode(dec, &address); err != nil {
				return err
			}
		case "version":
			if err := strict.UnmarshalDecode(dec, &version); err != nil {
				return err
			}
			if version != documentVersion {
				return errDocumentVersion()
			}
		case "apis":
			err = scanSection[DocumentAPI](f, dec, name)
		case "products":
			err = scanSection[DocumentProduct](f, dec, name)
		case "users":
			err = scanSection[DocumentUser](f, dec, name)
		case "applications":
			err = scanSection[DocumentApplication](f, dec, name)
		case "subscriptions":
			err = scanSection[DocumentSubscription](f, dec, name)
		default:
			err = fmt.Errorf("has an unknown member %q", name)
		}
		if err != nil {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	switch _, err := dec.ReadToken(); {
	case err == nil:
		return errors.New("has something behind its end")
	case !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case version != documentVersion:
		return errDocumentVersion()
	}
	return nil
}

func memberName(dec *jsontext.Decoder) (string, error) {
	t, err := dec.ReadToken()
	if err != nil {
		return "", err
	}
	return t.String(), nil
}

// expect reads the beginning of an object or a list.
func expect(dec *jsontext.Decoder, kind jsontext.Kind, what string) error {
	t, err := dec.ReadToken()
	if err == nil && t.Kind() != kind {
		err = errors.New("must be " + what)
	}
	return err
}

// scanSection checks a section and notes where it begins. A section that is null
// counts as missing.
func scanSection[D any, P entry[D]](f *DocumentFile, dec *jsontext.Decoder, name string) error {
	if dec.PeekKind() == 'n' {
		_, err := dec.ReadToken()
		return err
	}
	if err := expect(dec, '[', "a list"); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	place := sectionPlace{offset: dec.InputOffset() - 1, sorted: true}
	seen, last := map[string]bool{}, ""
	for i := 0; dec.PeekKind() != ']'; i++ {
		var d D
		v := P(&d)
		if err := strict.UnmarshalDecode(dec, v, strict.RejectUnknownMembers(true)); err != nil {
			return err
		}
		if err := v.check(); err != nil {
			return at(name, i, err)
		}
		place.sorted = place.sorted && last < v.key()
		if seen[v.key()] || v.key() == last {
			return twice(name, i, v.key())
		}
		last = v.key()
		switch {
		case i < maxUnordered:
			seen[last] = true
		case !place.sorted:
			return &InvalidError{fmt.Sprintf("%s[%d].id", name, i), fmt.Sprintf("%q is not in the order of IDs: a section of more than %d objects must be, as Export writes it", last, maxUnordered)}
		default:
			seen = nil
		}
	}
	f.places[name] = place
	_, err := dec.ReadToken()
	return err
}

// sections implements [DocumentSource]. OpenDocument has checked everything.
func (f *DocumentFile) sections() (documentSections, error) {
	return documentSections{
		apis:          fileSection[DocumentAPI](f, "apis"),
		products:      fileSection[DocumentProduct](f, "products"),
		users:         fileSection[DocumentUser](f, "users"),
		applications:  fileSection[DocumentApplication](f, "applications"),
		subscriptions: fileSection[DocumentSubscription](f, "subscriptions"),
	}, nil
}

func fileSection[D any, P entry[D]](f *DocumentFile, name string) section[D] {
	place, ok := f.places[name]
	if !ok {
		return nil
	}
	if place.sorted {
		return readSection[D, P](f, name, place)
	}
	return func(yield func(D, error) bool) {
		var list []D
		for v, err := range readSection[D, P](f, name, place) {
			if err != nil {
				yield(v, err)
				return
			}
			list = append(list, v)
		}
		slices.SortFunc(list, byKeyOf[D, P])
		for _, v := range list {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// readSection reads the objects of a section as they are in the file.
func readSection[D any, P entry[D]](f *DocumentFile, name string, place sectionPlace) section[D] {
	return func(yield func(D, error) bool) {
		var none D
		dec, err := f.decodeFrom(place.offset)
		if err == nil {
			err = expect(dec, '[', "a list")
		}
		for i := 0; err == nil && dec.PeekKind() != ']'; i++ {
			var v D
			if err = strict.UnmarshalDecode(dec, &v, strict.RejectUnknownMembers(true)); err == nil {
				if err = P(&v).check(); err != nil {
					err = at(name, i, err)
				}
			}
			if err == nil && !yield(v, nil) {
				return
			}
		}
		if err != nil {
			yield(none, invalidDocument(err))
		}
	}
}
