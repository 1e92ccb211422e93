package appaccess

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// APIDescription is what a reader understood of a document that describes an API.
// Package openapi reads OpenAPI documents.
type APIDescription struct {
	Version     string       // of the format, such as "OpenAPI 3.1.0"
	Title       string       // of the API
	Servers     []string     // URLs, as given
	Operations  []Operation  // ID is the operationId, which may be empty; AnyOf names scopes or roles
	Permissions []Permission // the scopes that the document declares
	Notes       []DocumentNote
}

// Permission allows a caller some operations of an API or a product. A product's
// permission is an app role of its application in Entra.
type Permission struct {
	Name        string `json:"name"` // Read
	Description string `json:"description,omitempty"`
}

// DocumentNote names a part of a document that has no effect.
type DocumentNote struct {
	Place string `json:"place"` // JSON pointer
	Text  string `json:"text"`
}

// APIDocument is the document that an API's operations were imported from.
type APIDocument struct {
	APIID       string       `json:"apiId"`
	Version     string       `json:"version"`
	Title       string       `json:"title,omitempty"`
	SHA256      string       `json:"sha256"` // of Source, in hexadecimal
	Source      []byte       `json:"-"`      // as given
	Permissions []Permission `json:"permissions,omitempty"`
	Updated     time.Time    `json:"updated"`
}

// storedDocument is the record of an [APIDocument].
type storedDocument struct {
	APIDocument
	Gzip []byte `json:"gzip"`
}

// OperationsImport is a document from which an API gets its operations.
type OperationsImport struct {
	Document []byte // at most 1 MiB
	// DryRun reports what the import would do and stores nothing.
	DryRun bool
	// Force imports a document that lets callers pass, where operations are enforced,
	// who were refused before.
	Force    bool
	Revision Revision // refuses the import if the API has another one by now; 0: any
}

// OperationsReport says what an import did or would do.
type OperationsReport struct {
	API     API               `json:"api"` // after the import
	Version string            `json:"version"`
	Title   string            `json:"title,omitempty"`
	SHA256  string            `json:"sha256"`
	Added   []OperationChange `json:"added,omitempty"`
	Changed []OperationChange `json:"changed,omitempty"`
	Removed []OperationChange `json:"removed,omitempty"`
	Notes   []DocumentNote    `json:"notes,omitempty"` // what was not understood or has no effect
	// Permissions are the permissions that the document declares.
	Permissions []Permission `json:"permissions,omitempty"`
	// ServiceURL is the first https server of the document, as a suggestion.
	ServiceURL string `json:"serviceUrl,omitempty"`
	// NotEnforceable says why the operations can only be shown; empty if they
	// can be enforced.
	NotEnforceable string `json:"notEnforceable,omitempty"`
}

// OperationChange is an operation that an import adds, changes or removes.
type OperationChange struct {
	Operation Operation `json:"operation"` // after the import; a removed operation: before it
	// Fields are the fields that changed: id, method, path, summary, tags,
	// permissions.
	Fields []string `json:"fields,omitempty"`
	// Widened says that the operation needs fewer permissions than before.
	Widened bool `json:"widened,omitempty"`
	// Kept says that a removed operation stays in the list, marked as Gone, because a
	// manager set its permissions or another operation matches its path.
	Kept bool `json:"kept,omitempty"`
}

// ImportOperations replaces the operations of an API that came from a document by the
// operations of another document. It recognises an operation by its operationId,
// otherwise by method and path. It keeps permissions that a manager set and
// operations that a manager listed. Scopes of the document name permissions: "Read",
// or the full role value of a product of the API, such as Product.Orders.Read.
//
// An import never lets a caller pass who has no role of a product. If operations are
// enforced, a document that lets callers pass who were refused before is a
// [*ConflictError], unless forced. For managers only.
func (s *Service) ImportOperations(ctx context.Context, by Actor, apiID string, req OperationsImport) (OperationsReport, error) {
	if !by.Manager {
		return OperationsReport{}, ErrForbidden
	}
	if s.readOpenAPI == nil {
		return OperationsReport{}, &ConflictError{Field: "document", Reason: "this instance reads no documents: configure ServiceConfig.ReadOpenAPI"}
	}
	desc, err := s.readOpenAPI(req.Document)
	if err != nil {
		var invalid *InvalidError
		if !errors.As(err, &invalid) {
			err = &InvalidError{"document", err.Error()}
		}
		return OperationsReport{}, err
	}
	doc, err := newAPIDocument(apiID, &desc, req.Document)
	if err != nil {
		return OperationsReport{}, err
	}
	var report OperationsReport
	work := func(l *look) error {
		a, err := l.api(apiID)
		if err == nil {
			err = l.expect(KindAPI, apiID, req.Revision)
		}
		if err != nil {
			return err
		}
		report, err = s.importInto(l, a, &desc, req.Force)
		report.SHA256 = doc.SHA256
		return err
	}
	if req.DryRun {
		return report, s.view(ctx, by, work)
	}
	err = s.manage(ctx, by, func(e *edit) error {
		if err := work(&e.look); err != nil {
			return err
		}
		doc.Updated, report.API.Updated = e.now, e.now
		return firstError(write(e, &report.API), putNote(e.w, KindDocument, apiID, doc), e.audit("api.import", KindAPI, apiID, map[string]string{
			"name": report.API.Name, "version": doc.Version, "sha256": doc.SHA256, "added": strconv.Itoa(len(report.Added)),
			"changed": strconv.Itoa(len(report.Changed)), "removed": strconv.Itoa(len(report.Removed)),
		}))
	})
	return orZero(report, err)
}

func newAPIDocument(apiID string, desc *APIDescription, source []byte) (storedDocument, error) {
	sum := sha256.Sum256(source)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(source); err != nil {
		return storedDocument{}, err
	}
	if err := z.Close(); err != nil {
		return storedDocument{}, err
	}
	if packed.Len() > MaxRecordBody*7/10 { // base64 and the other fields
		return storedDocument{}, &InvalidError{"document", "is too large to be kept even when compressed"}
	}
	for i, p := range desc.Permissions {
		desc.Permissions[i] = Permission{plainText(p.Name, maxName), plainText(p.Description, maxName)}
	}
	return storedDocument{APIDocument{
		APIID: apiID, Version: desc.Version, Title: plainText(desc.Title, maxName), SHA256: hex.EncodeToString(sum[:]), Permissions: desc.Permissions,
	}, packed.Bytes()}, nil
}

// APIDocument returns the document of an API to everyone who sees the API. The error
// is [ErrNotFound] if its operations do not come from a document.
func (s *Service) APIDocument(ctx context.Context, by Actor, apiID string) (APIDocument, error) {
	if _, err := s.API(ctx, by, apiID); err != nil {
		return APIDocument{}, err
	}
	var stored storedDocument
	err := s.view(ctx, by, func(l *look) (err error) {
		stored, err = note[storedDocument](l, KindDocument, apiID)
		return err
	})
	if err != nil {
		return APIDocument{}, err
	}
	if stored.APIID == "" {
		return APIDocument{}, fmt.Errorf("document of API %s: %w", apiID, ErrNotFound)
	}
	z, err := gzip.NewReader(bytes.NewReader(stored.Gzip))
	if err != nil {
		return APIDocument{}, fmt.Errorf("appaccess: document of API %s: %w", apiID, err)
	}
	doc := stored.APIDocument
	if doc.Source, err = io.ReadAll(z); err != nil {
		return APIDocument{}, fmt.Errorf("appaccess: document of API %s: %w", apiID, err)
	}
	return doc, nil
}

// SetOperations replaces the operations that were listed by hand; operations from a
// document stay. Method and Path are required; an empty ID is derived. seen is the
// revision of the API that the caller saw; an API with another revision is refused, 0
// accepts any. For managers only.
func (s *Service) SetOperations(ctx context.Context, by Actor, apiID string, operations []Operation, seen Revision) (API, error) {
	listed, err := byHand(operations)
	if err != nil {
		return API{}, err
	}
	return s.editAPI(ctx, by, apiID, seen, "api.operations", func(a *API) error {
		kept := slices.DeleteFunc(slices.Clone(a.Operations), func(o Operation) bool { return o.ByHand })
		for i := range listed {
			if old := findOperation(kept, &listed[i]); old != nil {
				return &ConflictError{Field: "operations", Reason: listed[i].String() + " is in the API's document, or has the ID of an operation there", Objects: []string{old.ID}}
			}
		}
		a.Operations = append(kept, listed...)
		return nil
	}, "listed", strconv.Itoa(len(listed)))
}

// byHand checks listed operations and removes what a manager cannot set.
func byHand(operations []Operation) ([]Operation, error) {
	used := map[string]bool{}
	for _, o := range operations {
		if o.ID == "" {
			continue
		}
		if err := checkID("operations", o.ID); err != nil {
			return nil, err
		}
		if used[o.ID] {
			return nil, &InvalidError{"operations", fmt.Sprintf("ID %q is there twice", o.ID)}
		}
		used[o.ID] = true
	}
	var listed []Operation
	for _, o := range operations {
		anyOf, err := checkAnyOf("operations", o.AnyOf)
		if err := firstError(err, checkText("operations", o.Summary, 0, maxName)); err != nil {
			return nil, err
		}
		for _, tag := range o.Tags {
			if err := checkText("operations", tag, 1, maxTag); err != nil {
				return nil, err
			}
		}
		id := o.ID
		if id == "" {
			id = operationID("", o.Method, o.Path, used)
		}
		listed = append(listed, Operation{ID: id, Method: o.Method, Path: o.Path, Summary: o.Summary, Tags: o.Tags, AnyOf: anyOf, ByHand: true})
	}
	return listed, CheckOperations(listed)
}

// RequirePermissions sets the permissions that an operation needs; imports then keep
// them. Nil resets them to what the document says. seen is the revision of the API
// that the caller saw; an API with another revision is refused, 0 accepts any. For
// managers only.
func (s *Service) RequirePermissions(ctx context.Context, by Actor, apiID, operationID string, anyOf [][]string, seen Revision) (API, error) {
	checked, err := checkAnyOf("anyOf", anyOf)
	if err != nil {
		return API{}, err
	}
	return s.editAPI(ctx, by, apiID, seen, "api.require", func(a *API) error {
		i := slices.IndexFunc(a.Operations, func(o Operation) bool { return o.ID == operationID })
		if i < 0 {
			return fmt.Errorf("operation %.80q of API %s: %w", operationID, apiID, ErrNotFound)
		}
		o := &a.Operations[i]
		switch {
		case anyOf == nil && o.Set:
			o.AnyOf, o.Declared, o.Set = o.Declared, nil, false
		case anyOf == nil:
		default:
			if !o.Set && !o.ByHand {
				o.Declared, o.Set = o.AnyOf, true
			}
			o.AnyOf = checked
		}
		return nil
	}, "operation", operationID, "permissions", wordsOf(checked))
}

// RemoveOperation removes an operation that was listed by hand or is Gone. Its
// requests may then match another operation's template. For managers only.
func (s *Service) RemoveOperation(ctx context.Context, by Actor, apiID, operationID string) (API, error) {
	return s.editAPI(ctx, by, apiID, 0, "api.operations", func(a *API) error {
		i := slices.IndexFunc(a.Operations, func(o Operation) bool { return o.ID == operationID })
		if i < 0 {
			return fmt.Errorf("operation %.80q of API %s: %w", operationID, apiID, ErrNotFound)
		}
		if o := &a.Operations[i]; !o.ByHand && !o.Gone {
			return &ConflictError{Field: "operation", Reason: "the operation is in the API's document: import a document without it", Objects: []string{operationID}}
		}
		a.Operations = slices.Delete(a.Operations, i, i+1)
		return nil
	}, "removed", operationID)
}

// SetEnforcement sets what gates do with the API's operations. It refuses operations
// that cannot be enforced: see [CheckOperations]. seen is the revision of the API
// that the caller saw; an API with another revision is refused, 0 accepts any. For
// managers only.
func (s *Service) SetEnforcement(ctx context.Context, by Actor, apiID string, enforcement Enforcement, seen Revision) (API, error) {
	if err := checkEnforcement(enforcement); err != nil {
		return API{}, err
	}
	return s.editAPI(ctx, by, apiID, seen, "api.enforce", func(a *API) error {
		a.Enforcement = enforcement
		return nil
	}, "enforcement", cmp.Or(string(enforcement), "show"))
}

func checkEnforcement(v Enforcement) error {
	if v != ShowOperations && v != ReportOperations && v != EnforceOperations {
		return &InvalidError{"enforcement", `must be "report", "enforce" or empty for operations that are only shown`}
	}
	return nil
}

// enforceable refuses operations that a gate cannot enforce.
func (a *API) enforceable() error {
	if a.Enforcement == ShowOperations {
		return nil
	}
	if len(a.Operations) == 0 {
		return &ConflictError{Field: "enforcement", Reason: "the API has no operations: import a document or list them first", Objects: []string{a.ID}}
	}
	err := CheckOperations(a.Operations)
	var invalid *InvalidError
	if errors.As(err, &invalid) {
		return &ConflictError{Field: "enforcement", Reason: invalid.Rule, Objects: []string{a.ID}}
	}
	return err
}

// editAPI changes an API's operations. details are pairs for the audit trail.
func (s *Service) editAPI(ctx context.Context, by Actor, id string, seen Revision, action string, fn func(*API) error, details ...string) (API, error) {
	var a API
	err := s.manage(ctx, by, func(e *edit) (err error) {
		if a, err = e.api(id); err != nil {
			return err
		}
		if err := e.expect(KindAPI, id, seen); err != nil {
			return err
		}
		a.Operations = slices.Clone(a.Operations)
		if err := fn(&a); err != nil {
			return err
		}
		if len(a.Operations) > maxOperations {
			return &InvalidError{"operations", fmt.Sprintf("an API has at most %d", maxOperations)}
		}
		if err := a.enforceable(); err != nil {
			return err
		}
		a.Updated = e.now
		return firstError(write(e, &a), e.audit(action, KindAPI, id, pairs(append(details, "name", a.Name))))
	})
	return orZero(a, err)
}

// wordsOf returns alternatives as text: "Read, or Write and Audit".
func wordsOf(anyOf [][]string) string {
	var list []string
	for _, together := range anyOf {
		list = append(list, strings.Join(together, " and "))
	}
	return cmp.Or(strings.Join(list, ", or "), AllPermission)
}

const maxTag = 100

// plainText shortens a document's text to one line for a list.
func plainText(s string, maximum int) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		if isInvisible(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "")))
	if runes := []rune(s); len(runes) > maximum {
		s = strings.TrimSpace(string(runes[:maximum-1])) + "…"
	}
	return s
}
