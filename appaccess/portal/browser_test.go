package portal_test

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/race"
)

// axe-core by Deque Systems, MPL-2.0: used by tests only.
//
//go:embed testdata/axe.min.js
var axeSource string

// patience is how long a browser may take for anything at all. It is no
// measure: a loaded machine must not fail a test.
const patience = 2 * time.Minute

// chromium is the one browser of this test binary.
var chromium struct {
	once sync.Once
	ctx  context.Context
	stop func()
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.stop != nil {
		chromium.stop()
	}
	os.Exit(code)
}

func startChromium() {
	path := ""
	// The headless shell is the same engine without windows, and needs half the time.
	for _, name := range []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		chromium.err = fmt.Errorf("no Chromium in PATH: install Debian's package chromium-headless-shell or chromium")
		return
	}
	data, err := os.MkdirTemp("", "entragate-chromium-")
	if err != nil {
		chromium.err = err
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(data), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("ignore-certificate-errors", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
		chromedp.WSURLReadTimeout(patience),
	)
	alloc, stopAlloc := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stop := chromedp.NewContext(alloc)
	chromium.ctx = ctx
	chromium.stop = func() {
		stop()
		stopAlloc()
		_ = os.RemoveAll(data)
	}
	_, chromium.err = chromedp.Run(ctx, chromedp.Location())
}

// tab is a window of the browser with cookies of its own.
type tab struct {
	t   testing.TB
	w   *world
	ctx context.Context

	mu       sync.Mutex
	problems []string // what the console and the network complained about
}

// open opens a tab, or skips the test where there is no Chromium.
func (w *world) open(t testing.TB, who string) *tab {
	t.Helper()
	if race.Enabled {
		t.Skip("the browser is another process, and the handlers' other tests are watched for races")
	}
	chromium.once.Do(startChromium)
	if chromium.err != nil {
		if os.Getenv("ENTRAGATE_TEST_REQUIRE") == "1" {
			t.Fatalf("a browser is required: %v", chromium.err)
		}
		t.Skipf("no browser: %v", chromium.err)
	}
	ctx, cancel := chromedp.NewContext(chromium.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	b := &tab{t: t, w: w, ctx: ctx}
	// The first call makes the tab, which lives as long as its context.
	require.NoError(t, chromedp.Listen(ctx, b.listen))
	send(b, network.Enable, network.EnableParams{})
	send(b, log.Enable, cdp.Empty{})
	if who != "" {
		secure := true
		send(b, network.SetCookie, network.SetCookieParams{Name: "who", Value: who, URL: w.web.URL + "/", Secure: &secure})
	}
	return b
}

// listen notes what a page must not cause: violations of the policy, scripts
// that fail, requests to other hosts.
func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, b.w.web.URL+"/") && !strings.HasPrefix(e.Request.URL, b.w.tenant.BaseURL()+"/") && !strings.HasPrefix(e.Request.URL, "data:") {
			b.problems = append(b.problems, "request to "+e.Request.URL)
		}
	default:
		if text, ok := complaint(event); ok {
			b.problems = append(b.problems, text)
		}
	}
}

// do does an action, which may take its time.
func do[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	got, err := chromedp.Run(ctx, action)
	require.NoError(b.t, err)
	return got
}

// eval reads an expression.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	return do(b, chromedp.Evaluate[T](expression))
}

// send gives the browser a command.
func send[P, R any](b *tab, cmd cdp.Command[P, R], params P) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.Call(ctx, cmd, params)
	require.NoError(b.t, err)
}

// visit opens a page below the prefix and waits until it is there.
func (b *tab) visit(path string) {
	b.t.Helper()
	do(b, chromedp.Navigate(b.w.web.URL+prefix+path))
	b.ready()
}

// ready waits for a page that is complete.
func (b *tab) ready() {
	b.t.Helper()
	b.wait(`document.readyState === "complete" && !!document.querySelector("main")`)
}

// wait waits until an expression is true. The page may change meanwhile.
func (b *tab) wait(expression string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(b.ctx, patience)
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		cancel()
		if ok && err == nil {
			return
		}
		if time.Now().After(deadline) {
			require.Failf(b.t, "the page does not come", "%s at %s (%v)", expression, b.url(), err)
		}
		time.Sleep(20 * time.Millisecond) // between two looks, not for something to have happened
	}
}

func (b *tab) url() string {
	at, _ := chromedp.Run(b.ctx, chromedp.Location())
	return strings.TrimPrefix(at, b.w.web.URL+prefix)
}

// press clicks what has a text and waits for the page that follows.
func (b *tab) press(text string) {
	b.t.Helper()
	eval[string](b, `document.documentElement.dataset.before = "yes"`)
	find := fmt.Sprintf(`[...document.querySelectorAll("main a, main button, .top button")].find(e => e.offsetParent && e.textContent.trim() === %s)`, quoted(text))
	b.wait(find)
	b.click(find)
	b.wait(`document.readyState === "complete" && !document.documentElement.dataset.before && !!document.querySelector("main")`)
}

// click clicks an element. The page may be gone before the click is reported:
// the caller waits for what follows.
func (b *tab) click(element string) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, _ = chromedp.Run(ctx, chromedp.Evaluate[bool](element+".click() || true"))
}

// pickAccount signs in at the local tenant's page.
func (b *tab) pickAccount(name string) {
	b.t.Helper()
	find := `[...document.querySelectorAll("button[name=pick]")].find(e => e.textContent.includes(` + quoted(name) + `))`
	b.wait(find)
	b.click(find)
	b.wait(`location.href.startsWith(` + quoted(b.w.web.URL) + `) && document.readyState === "complete" && !!document.querySelector("main")`)
}

// fill sets a field as typing would.
func (b *tab) fill(name, value string) {
	b.t.Helper()
	find := `document.querySelector('main [name="` + name + `"]')`
	b.wait(find)
	eval[string](b, find+".value = "+quoted(value))
}

// choose ticks a choice.
func (b *tab) choose(name, value string, on bool) {
	b.t.Helper()
	find := fmt.Sprintf(`document.querySelector('main input[name="%s"][value="%s"]')`, name, value)
	b.wait(find)
	eval[bool](b, fmt.Sprintf(`(e => { if (e.checked !== %v) e.click(); return true })(%s)`, on, find))
}

func (b *tab) text(selector string) string {
	b.t.Helper()
	return strings.TrimSpace(eval[string](b, `document.querySelector(`+quoted(selector)+`)?.textContent ?? ""`))
}

// sees asserts that the page shows a text.
func (b *tab) sees(text string) {
	b.t.Helper()
	shown := eval[string](b, `document.body.innerText`)
	assert.Truef(b.t, strings.Contains(shown, text), "%s does not show %q", b.url(), text)
}

func (b *tab) misses(text string) {
	b.t.Helper()
	shown := eval[string](b, `document.documentElement.outerHTML`)
	assert.Falsef(b.t, strings.Contains(shown, text), "%s has %q", b.url(), text)
}

func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

// clean asserts that nothing was complained about.
func (b *tab) clean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	assert.Empty(b.t, b.problems)
	b.problems = nil
}

// screen is a size and a colour scheme.
type screen struct {
	name          string
	width, height int64
	dark          bool
	axe           string // rules to run; empty: all. Colours, sizes and scrolling are all that the second screen changes
}

var screens = []screen{
	{"wide-light", 1440, 900, false, ""},
	{"phone-dark", 390, 740, true, `{runOnly: ["color-contrast", "target-size", "scrollable-region-focusable", "aria-hidden-focus"]}`},
}

// wide and phone are the screens.
func wide() screen  { return screens[0] }
func phone() screen { return screens[1] }

func (b *tab) on(s screen) {
	b.t.Helper()
	scheme := "light"
	if s.dark {
		scheme = "dark"
	}
	send(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: s.width, Height: s.height, DeviceScaleFactor: 1, Mobile: s.width < 500,
	})
	send(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// picture keeps a picture of the whole page in the folder for pictures.
func (b *tab) picture(name string) {
	b.t.Helper()
	dir := filepath.Join(os.Getenv("ENTRAGATE_TEST_OUTPUT"), "portal")
	require.NoError(b.t, os.MkdirAll(dir, 0o755))
	png := do(b, chromedp.FullScreenshot(100))
	require.NoError(b.t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}

// narrow asserts that nothing makes the page wider than the screen. A phone zooms
// out of a page that is too wide, so innerWidth would hide it.
func (b *tab) narrow(path string, s screen) {
	b.t.Helper()
	over := eval[[]string](b, strings.ReplaceAll(`document.documentElement.scrollWidth <= WIDTH ? [] :
		[...document.querySelectorAll("main *, header *")].filter(e => (e.getBoundingClientRect().right > WIDTH + 1 || e.scrollWidth > WIDTH) && !e.closest("pre, .tabs, .visually-hidden")).map(e => e.tagName + "." + e.className).slice(-5).concat("page")`, "WIDTH", strconv.FormatInt(s.width, 10)))
	assert.Emptyf(b.t, over, "%s is wider than the screen %s", path, s.name)
}

type axeFinding struct {
	ID     string   `json:"id"`
	Impact string   `json:"impact"`
	Help   string   `json:"help"`
	Nodes  []string `json:"nodes"`
}

// skeleton is the structure of a page without its text: elements, classes and
// the attributes that axe-core looks at, with equal neighbours once.
const skeleton = `(() => {
	const walk = e => {
		const marks = [...e.attributes].map(a => ["role", "type", "scope"].includes(a.name) || a.name.startsWith("aria-") && a.value.length < 6 ? a.name + "=" + a.value : a.name);
		const text = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) ? "t" : "";
		let inner = "", last = "";
		for (const child of e.children) { const one = walk(child); if (one !== last) inner += one; last = one }
		return "<" + e.tagName + "." + e.className + " " + marks + ">" + text + inner + "/";
	};
	return document.querySelectorAll("header a, nav a").length + walk(document.querySelector("main"));
})()`

// axe runs axe-core over the page and asserts that it finds nothing serious. It
// skips a page whose skeleton it saw before on that screen.
func (b *tab) axe(path string, s screen) {
	b.t.Helper()
	if _, seen := b.w.looked.LoadOrStore(s.name+eval[string](b, skeleton), true); seen {
		return
	}
	// The policy keeps scripts of others out of the page; the debugger is above it.
	if !eval[bool](b, `typeof axe === "object"`) {
		eval[int](b, axeSource+";0")
	}
	eval[int](b, `window.axeDone = null; axe.run(document, {...`+cmp.Or(s.axe, "{}")+`, resultTypes: ["violations"]}).then(
		r => { window.axeDone = r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map(n => n.html + " " + (n.failureSummary || "")).slice(0, 3)})) },
		e => { window.axeDone = [{id: "error", impact: "critical", help: String(e), nodes: []}] }); 0`)
	b.wait(`window.axeDone !== null`)
	for _, f := range eval[[]axeFinding](b, `window.axeDone`) {
		serious := f.Impact == "serious" || f.Impact == "critical"
		assert.Falsef(b.t, serious, "%s: %s (%s): %s\n%s", path, f.ID, f.Impact, f.Help, strings.Join(f.Nodes, "\n"))
		if !serious {
			b.t.Logf("axe, %s: %s (%s): %s %v", path, f.ID, f.Impact, f.Help, f.Nodes)
		}
	}
}
