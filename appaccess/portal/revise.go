package portal

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// errStale says that somebody else changed what the form shows.
var errStale = errors.New("portal: the object was changed while the form was open")

// version is an object as its form shows it. The revision was read before the
// values, so it is never newer than they are.
type version struct {
	Revision appaccess.Revision
	Values   url.Values
}

// baseToken is what a form that changes an object carries, sealed: the values
// that its author saw.
type baseToken struct {
	Path   string
	Values url.Values
}

// difference is a field that somebody else changed while the form was open.
type difference struct{ Label, Now, Yours string }

// based fills a form from the object where the user entered nothing, and seals
// what it shows.
func (p *Portal) based(rq *request, f *form, now version) error {
	for name, values := range now.Values {
		f.set(name, values...)
	}
	var err error
	f.Base, err = p.keys.seal(p.purpose("base"), baseToken{rq.URL.Path, now.Values})
	return err
}

// revise saves a form that changes an object. If somebody has changed
// its fields since they were shown, revise refuses the form and shows both values.
// Changes of other fields, such as those that the reconciler records, do not matter.
func (p *Portal) revise(rq *request, f *form, read func() (version, error), save func(appaccess.Revision) error) error {
	var base baseToken
	if err := p.keys.open(p.purpose("base"), f.Get("base"), &base); err != nil || base.Path != rq.URL.Path {
		base = baseToken{} // nothing is known of what its author saw
	}
	for range 5 {
		now, err := read()
		if err != nil {
			return err
		}
		if f.Stale = f.differences(base.Values, now.Values); len(f.Stale) > 0 {
			return errStale
		}
		err = save(now.Revision)
		var conflict *appaccess.ConflictError
		if !errors.As(err, &conflict) || conflict.Field != appaccess.RevisionField {
			return err
		}
	}
	return appaccess.ErrUnavailable // it changes all the time
}

func (f form) differences(seen, now url.Values) []difference {
	var out []difference
	for _, one := range f.Fields {
		if _, shown := now[one.Name]; !shown || same(seen[one.Name], now[one.Name]) || same(f.Values[one.Name], now[one.Name]) {
			continue
		}
		out = append(out, difference{one.Label, strings.Join(now[one.Name], ", "), strings.Join(f.Values[one.Name], ", ")})
	}
	return out
}

// same compares what a field holds; the order of choices does not matter, and
// browsers send line ends of their own.
func same(a, b []string) bool {
	clean := func(values []string) []string {
		var out []string
		for _, v := range values {
			if v = strings.ReplaceAll(v, "\r\n", "\n"); v != "" {
				out = append(out, v)
			}
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(clean(a), clean(b))
}
