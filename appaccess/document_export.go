package appaccess

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"iter"
)

// Export writes the whole configuration as a [Document], each section in the order of
// IDs. It reads one consistent state in one transaction and writes while it reads:
// write to a file, not to a slow reader. After an error the output is incomplete. For
// managers only.
func (s *Service) Export(ctx context.Context, by Actor, w io.Writer) error {
	return s.view(ctx, by, func(l *look) error {
		if err := l.onlyManager(); err != nil {
			return err
		}
		return writeDocument(w, documentSections{
			apis:          formsOf(each[API](l, Query{}), documentAPI),
			products:      formsOf(each[Product](l, Query{}), documentProduct),
			users:         formsOf(each[User](l, Query{}), documentUser),
			applications:  formsOf(each[ClientApplication](l, Query{}), documentApplication),
			subscriptions: formsOf(each[Subscription](l, Query{}), documentSubscription),
		})
	})
}

// Write writes the document as indented JSON.
func (d Document) Write(w io.Writer) error {
	return writeDocument(w, documentSections{
		apis: listed(d.APIs), products: listed(d.Products), users: listed(d.Users),
		applications: listed(d.Applications), subscriptions: listed(d.Subscriptions),
	})
}

func listed[D any](list []D) section[D] {
	if list == nil {
		return nil
	}
	return func(yield func(D, error) bool) {
		for _, v := range list {
			if !yield(v, nil) {
				return
			}
		}
	}
}

func writeDocument(w io.Writer, s documentSections) error {
	out := bufio.NewWriter(w)
	_, _ = out.WriteString("{\n  \"version\": 1") // Flush returns the error
	err := firstOf(
		func() error { return writeSection(out, "apis", s.apis) },
		func() error { return writeSection(out, "products", s.products) },
		func() error { return writeSection(out, "users", s.users) },
		func() error { return writeSection(out, "applications", s.applications) },
		func() error { return writeSection(out, "subscriptions", s.subscriptions) },
	)
	if err != nil {
		return err
	}
	_, _ = out.WriteString("\n}\n")
	return out.Flush()
}

func writeSection[D any](out *bufio.Writer, name string, objects iter.Seq2[D, error]) error {
	if objects == nil {
		return nil
	}
	_, _ = out.WriteString(",\n  \"" + name + "\": [")
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("    ", "  ")
	before := "\n    "
	for v, err := range objects {
		if err == nil {
			buf.Reset()
			err = enc.Encode(v)
		}
		if err != nil {
			return err
		}
		_, _ = out.WriteString(before)
		if _, err := out.Write(bytes.TrimSuffix(buf.Bytes(), []byte("\n"))); err != nil {
			return err
		}
		before = ",\n    "
	}
	if before[0] == ',' {
		_, _ = out.WriteString("\n  ")
	}
	_, err := out.WriteString("]")
	return err
}
