package portal

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
)

//go:embed templates
var templateFiles embed.FS

// page is what one page adds to the frame round it. Data is a struct of the
// page's own.
type page struct {
	Title  string
	Lead   string // one sentence below the title
	Nav    string // the entry of the menu that is current
	Crumbs []link
	Tabs   []link
	Tab    string // text of the tab that is current
	Narrow bool   // without the menu
	Data   any
}

// link is a text that leads somewhere. One without URL is text only.
type link struct{ Text, URL string }

// frame is what every template sees.
type frame struct {
	page
	Portal  string
	Brand   Brand
	User    *User // nil: nobody is signed in
	Manager bool
	Owner   bool // has an account to own things with
	SignOut bool // the portal's own sign-in is in use
	Failed  bool // a form was refused or the page is an error
	Flash   *flash
	Now     time.Time
}

// write renders a page and sends it. Nothing is sent if rendering fails.
func (p *Portal) write(rq *request, status int, name string, pg page) error {
	var body bytes.Buffer
	if p.pages[name] == nil {
		return fmt.Errorf("portal: there is no template %q", name)
	}
	f := p.frame(rq, pg)
	f.Failed = status >= http.StatusBadRequest
	if err := p.pages[name].ExecuteTemplate(&body, "page", f); err != nil {
		return fmt.Errorf("portal: page %s: %w", name, err)
	}
	rq.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	rq.w.WriteHeader(status)
	_, _ = rq.w.Write(body.Bytes()) // the browser may be gone
	return nil
}

// crumbs is the way to a page.
func (p *Portal) crumbs(text string, segments ...string) []link {
	return []link{{Text: text, URL: p.path(segments...)}}
}

// show renders a page that is found.
func (p *Portal) show(rq *request, name string, pg page) error {
	return p.write(rq, http.StatusOK, name, pg)
}

func (p *Portal) frame(rq *request, pg page) frame {
	f := frame{page: pg, Portal: p.title, Brand: p.brand, SignOut: p.signIn != nil, Now: p.now()}
	if rq.user.ObjectID != "" {
		f.User = &rq.user
		f.Manager = rq.user.Manager
		f.Owner = rq.account != nil
		f.Flash = p.takeFlash(rq)
	}
	return f
}

// stream sends a page in parts: begin, then any number of writes, then the
// function it returns. For work that shows its progress without JavaScript.
func (p *Portal) stream(rq *request, name string, pg page) (put func(part string, data any) error, end func() error, err error) {
	t, f := p.pages[name], p.frame(rq, pg)
	rq.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	rq.w.Header().Set("X-Accel-Buffering", "no") // a proxy in front must not hold it back
	out := http.NewResponseController(rq.w)
	_ = out.SetWriteDeadline(time.Time{}) // it may take longer than a server allows a page
	put = func(part string, data any) error {
		var b bytes.Buffer
		if err := t.ExecuteTemplate(&b, part, data); err != nil {
			return fmt.Errorf("portal: page %s: %w", name, err)
		}
		if _, err := rq.w.Write(b.Bytes()); err != nil {
			return err
		}
		_ = out.Flush() // a writer that cannot flush shows all at the end
		return nil
	}
	return put, func() error { return put("bottom", f) }, put("top", f)
}

// parsePages makes one template set of each file but the two that all share.
func (p *Portal) parsePages() (map[string]*template.Template, error) {
	base, err := template.New("").Funcs(p.functions()).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, fmt.Errorf("portal: templates: %w", err)
	}
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("portal: templates: %w", err)
	}
	pages := map[string]*template.Template{}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		set, err := base.Clone()
		if err == nil {
			_, err = set.ParseFS(templateFiles, file)
		}
		if err != nil {
			return nil, fmt.Errorf("portal: templates: %w", err)
		}
		pages[name] = set
	}
	return pages, nil
}

func (p *Portal) functions() template.FuncMap {
	return template.FuncMap{
		"link":     p.path,
		"support":  func() template.URL { return template.URL(p.brand.Support) }, // New checked its scheme
		"iconType": func() string { return p.assets.bySource["icon.svg"].typ },
		"asset":    func(name string) string { return p.path("assets", p.assets.bySource[name].name) },
		"icon":     icon,
		"date":     func(t time.Time) template.HTML { return stamp(t, "date", "2 Jan 2006") },
		"moment":   func(t time.Time) template.HTML { return stamp(t, "moment", "2 Jan 2006, 15:04 UTC") },
		"ago":      func(t time.Time) template.HTML { return stampText(t, "ago", until(t, p.now())) },
		"until":    func(t time.Time) string { return until(t, p.now()) },
		"look":     look,
		"words":    words,
		"number":   numberText,
		"join":     strings.Join,
		"query":    func(name, value string) string { return "?" + url.Values{name: {value}}.Encode() },
		"field":    newFieldLine,
		"keys":     keySlots,
		"list":     func(items ...string) []string { return items },
		"expiring": func(c appaccess.Credential) string { return expiring(c, p.now()) },
		"credname": credentialName,
		"kindof":   func(a appaccess.ClientApplication) string { return string(a.ClientKind()) },
	}
}

// numberText is a number. The text has commas; a browser with JavaScript shows the
// number in the reader's format.
func numberText(n int64) template.HTML {
	return template.HTML(`<data value="` + strconv.FormatInt(n, 10) + `">` + number(n) + `</data>`)
}

// keySlot is a line of the part of a page that regenerates keys.
type keySlot struct{ Label, URL string }

func keySlots(base string) []keySlot {
	return []keySlot{{"Primary key", base + "/primary/regenerate"}, {"Secondary key", base + "/secondary/regenerate"}}
}

// stamp is a time. The text is in UTC; a browser with JavaScript shows it in its
// own zone and format, and keeps UTC as the hint.
func stamp(t time.Time, format, layout string) template.HTML {
	if t.IsZero() {
		return "–"
	}
	return stampText(t, format, t.UTC().Format(layout))
}

func stampText(t time.Time, format, text string) template.HTML {
	return template.HTML(`<time datetime="` + t.UTC().Format(time.RFC3339) + `" title="` + t.UTC().Format("2 Jan 2006, 15:04 UTC") +
		`" data-time="` + format + `">` + template.HTMLEscapeString(text) + `</time>`)
}

// until says how far off a time is: "in 3 days", "2 hours ago".
func until(t, now time.Time) string {
	d := t.Sub(now)
	format := "in %d %s"
	if d < 0 {
		d, format = -d, "%d %s ago"
	}
	n, unit := int(d/time.Minute), "minute"
	switch {
	case d >= 48*time.Hour:
		n, unit = int(d/(24*time.Hour)), "day"
	case d >= 2*time.Hour:
		n, unit = int(d/time.Hour), "hour"
	case n < 1:
		return "just now"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf(format, n, unit)
}

// warnBefore is how long before its end a credential is marked.
const warnBefore = 30 * 24 * time.Hour

// lastUseOf is when a credential ends, or when it is removed because another one
// replaced it; zero: never.
func lastUseOf(c appaccess.Credential) time.Time {
	if !c.RemoveAfter.IsZero() && (c.End.IsZero() || c.RemoveAfter.Before(c.End)) {
		return c.RemoveAfter
	}
	return c.End
}

// expiring is the mark of a credential that ended or soon will.
func expiring(c appaccess.Credential, now time.Time) string {
	switch end := lastUseOf(c); {
	case end.IsZero():
		return ""
	case !now.Before(end):
		return "expired"
	case end.Sub(now) < warnBefore:
		return "expires soon"
	}
	return ""
}

// look is the colour of a state's badge.
func look(state any) string {
	switch fmt.Sprint(state) {
	case "active", "approved", "published", "in sync", "create", "restore", "grant", "current":
		return "ok"
	case "pending", "open", "submitted", "suspended", "expires soon", "change", "adopt":
		return "warn"
	case "blocked", "rejected", "cancelled", "expired", "failed", "remove", "revoke":
		return "bad"
	}
	return ""
}

// words is a state as people read it.
func words(state any) string {
	s := fmt.Sprint(state)
	switch s {
	case "":
		return ""
	case string(appaccess.NotPublished):
		return "Not published"
	case string(appaccess.ManagedIdentityClient):
		return "Managed identity"
	case string(appaccess.ServicePrincipalClient):
		return "Service principal"
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
