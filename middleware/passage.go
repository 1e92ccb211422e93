package middleware

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// passage is a request that the gate let pass, until its response is complete. It
// is the context of the handler's request and, as an openWriter, the handler's
// ResponseWriter, so that a request needs one allocation.
//
// A passage is added to the watcher when the handler first calls Done or Err of the
// context, flushes, writes longResponse bytes, writes after a change, begins an event
// stream, or hijacks the connection. Before the first byte of a response, the gate decides
// again if something has changed: see decideAgain.
type passage struct {
	context.Context // of the request outside the gate
	caller          caller
	gate            *Gate
	find            finder
	method          string // of the request, like path and rawPath
	path, rawPath   string
	writer          http.ResponseWriter
	expires         time.Time     // of the credential, leeway included; zero if it does not expire
	epoch           atomic.Uint64 // of the watcher, before the last decision
	policy          atomic.Int32

	follow sync.Once
	live   atomic.Pointer[liveContext] // nil until the watcher has the passage

	begun   bool                        // the handler has begun the response
	written int                         // bytes of the response's body
	status  int                         // set by the handler; 0 if it set none
	stream  atomic.Bool                 // an event stream or an upgraded connection
	conn    atomic.Pointer[watchedConn] // of an upgraded connection
	over    atomic.Bool                 // the gate has ended the response
	refusal *decision                   // why the gate ended it; set before over

	// Guarded by the watcher.
	prev, next *passage
	watched    bool
	ask        bool // the watcher must decide on the request again
}

type liveContext struct {
	context.Context
	cancel context.CancelCauseFunc
}

type passageKey struct{}

func (g *Gate) newPassage(w http.ResponseWriter, r *http.Request, find finder, d *decision, epoch uint64) *passage {
	p := &passage{
		Context: r.Context(), caller: d.caller, gate: g, find: find, writer: w,
		method: r.Method, path: r.URL.Path, rawPath: r.URL.RawPath,
	}
	switch {
	case d.caller.token != nil:
		p.expires = d.caller.token.exp.Add(g.cfg.Leeway)
	case d.caller.key != nil:
		p.expires = d.caller.key.Expires
	}
	p.epoch.Store(epoch)
	p.policy.Store(int32(g.cfg.OnRevocation))
	return p
}

// Done implements [context.Context].
func (p *passage) Done() <-chan struct{} { return p.followed().Done() }

// Err implements [context.Context].
func (p *passage) Err() error { return p.followed().Err() }

// Value implements [context.Context].
func (p *passage) Value(key any) any {
	switch key.(type) {
	case callerKey:
		return &p.caller
	case passageKey:
		return p
	}
	if live := p.live.Load(); live != nil {
		return live.Value(key)
	}
	return p.Context.Value(key)
}

// followed returns the context that is cancelled when the gate ends the response. It
// adds the passage to the watcher.
func (p *passage) followed() context.Context {
	p.follow.Do(func() {
		ctx, cancel := context.WithCancelCause(p.Context)
		p.live.Store(&liveContext{ctx, cancel})
		p.gate.watcher.add(p)
	})
	return p.live.Load()
}

// streams marks the response as a stream, which also ends when the credential
// expires.
func (p *passage) streams() {
	p.stream.Store(true)
	p.followed()
	p.gate.watcher.askAbout(p)
}

// endable reports whether the policy lets the gate end this response.
func (p *passage) endable() bool {
	switch CancelPolicy(p.policy.Load()) {
	case CancelNone:
		return false
	case CancelAll:
		return true
	}
	return p.method == http.MethodGet || p.method == http.MethodHead || p.stream.Load()
}

// expired reports whether the response is a stream whose credential has expired, and
// which the policy lets the gate end.
func (p *passage) expired(now time.Time) bool {
	return p.stream.Load() && !p.expires.IsZero() && !now.Before(p.expires) && p.endable()
}

// end cancels the request's context and closes an upgraded connection. The watcher has
// set refusal and over, which lets further writes fail.
func (p *passage) end(cause error) {
	p.live.Load().cancel(cause)
	if conn := p.conn.Load(); conn != nil {
		_ = conn.Conn.Close()
	}
}

// finish runs when the handler has returned or panicked. It copies the pattern that
// the inner mux matched to the outer request, for metrics and traces.
func (p *passage) finish(outer, inner *http.Request) {
	outer.Pattern = inner.Pattern
	live := p.live.Load()
	if live == nil {
		return
	}
	if p.conn.Load() == nil {
		p.gate.watcher.remove(p)
	}
	live.cancel(context.Canceled) // as net/http does
}

// settle completes a response that the gate has ended, after the handler returned.
// If nothing was sent, the client gets the refusal. If a part was sent, settle aborts
// the response, so that the client does not take the part for the whole. An event
// stream just stops: its clients expect no end.
func (p *passage) settle(r *http.Request) {
	if !p.over.Load() || p.conn.Load() != nil {
		return
	}
	if p.begun {
		if !p.stream.Load() {
			panic(http.ErrAbortHandler)
		}
		return
	}
	h := p.writer.Header()
	for _, name := range []string{"Content-Length", "Content-Encoding", "Content-Range", "Accept-Ranges", "Etag", "Last-Modified"} {
		h.Del(name)
	}
	p.gate.refuse(p.writer, r, p.refusal)
}

// request returns a request for a finder. It is made from copies, because the handler
// may have changed the original.
func (p *passage) request() *http.Request {
	return &http.Request{Method: p.method, URL: &url.URL{Path: p.path, RawPath: p.rawPath}}
}

// openWriter is a passage as the handler's ResponseWriter.
type openWriter passage

func (w *openWriter) passage() *passage { return (*passage)(w) }

// longResponse is after how many bytes a response is added to the watcher.
const longResponse = 256 << 10

// begin runs before the first byte of the response. If the gate has ended the response,
// begun stays false.
func (w *openWriter) begin() {
	if w.begun || w.over.Load() {
		return
	}
	if w.passage().decideAgain(); w.over.Load() {
		return
	}
	w.begun = true
	if kind := w.writer.Header()["Content-Type"]; len(kind) > 0 && isEventStream(kind[0]) {
		w.passage().streams()
	}
}

// decideAgain ends the response if the catalog, the tenants or the signing keys have
// changed since the request was decided, and it would be refused now. It does nothing if
// the watcher has the passage.
func (p *passage) decideAgain() {
	w := p.gate.watcher
	epoch := w.epoch.Load()
	if p.epoch.Load() == epoch || p.live.Load() != nil || !p.endable() {
		return
	}
	ctx, cancel := context.WithTimeout(p.Context, watchTime)
	defer cancel()
	d := p.gate.rejudge(ctx, p)
	if d.ok() {
		p.epoch.Store(epoch)
		return
	}
	p.followed()
	if d.status != http.StatusServiceUnavailable { // otherwise the watcher asks again
		w.end(p, d, ErrAccessRevoked)
	}
}

func isEventStream(contentType string) bool {
	const eventStream = "text/event-stream"
	return len(contentType) >= len(eventStream) && strings.EqualFold(contentType[:len(eventStream)], eventStream)
}

// Header implements [http.ResponseWriter].
func (w *openWriter) Header() http.Header { return w.writer.Header() }

// WriteHeader implements [http.ResponseWriter].
func (w *openWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		if w.begin(); !w.begun { // the gate has ended the response: settle answers
			return
		}
		if w.status == 0 {
			w.status = status
		}
	}
	w.writer.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *openWriter) Write(b []byte) (int, error) {
	if err := w.ready(len(b)); err != nil {
		return 0, err
	}
	return w.writer.Write(b)
}

// WriteString implements [io.StringWriter].
func (w *openWriter) WriteString(s string) (int, error) {
	if err := w.ready(len(s)); err != nil {
		return 0, err
	}
	return io.WriteString(w.writer, s)
}

func (w *openWriter) ready(n int) error {
	w.begin()
	w.written += n
	if w.live.Load() == nil && (w.written >= longResponse || w.epoch.Load() != w.gate.watcher.epoch.Load()) {
		w.passage().followed()
	}
	if w.over.Load() {
		if cause := context.Cause(w.live.Load()); cause != nil {
			return cause
		}
		return ErrAccessRevoked // the watcher cancels the context in this moment
	}
	return nil
}

// FlushError implements what [http.ResponseController] asks for.
func (w *openWriter) FlushError() error {
	if err := w.ready(0); err != nil {
		return err
	}
	w.passage().followed() // a flushed response usually continues
	return http.NewResponseController(w.writer).Flush()
}

// Flush implements [http.Flusher].
func (w *openWriter) Flush() { _ = w.FlushError() }

// CloseNotify implements [http.CloseNotifier], which gin needs.
func (w *openWriter) CloseNotify() <-chan bool {
	closed := make(chan bool, 1)
	context.AfterFunc(w.passage(), func() { closed <- true })
	return closed
}

// Hijack implements [http.Hijacker].
func (w *openWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	p := w.passage()
	conn, rw, err := http.NewResponseController(w.writer).Hijack()
	if err != nil {
		return nil, nil, err
	}
	p.begun = true
	c := &watchedConn{conn, p}
	p.conn.Store(c)
	p.streams()
	if p.over.Load() { // end may not have seen the connection
		_ = c.Close()
	}
	return c, rw, nil
}

// Unwrap lets [http.ResponseController] reach the wrapped writer's other methods.
func (w *openWriter) Unwrap() http.ResponseWriter { return w.writer }

// watchedConn is an upgraded connection. The watcher keeps its passage until the
// connection is closed.
type watchedConn struct {
	net.Conn
	passage *passage
}

// Close implements [net.Conn].
func (c *watchedConn) Close() error {
	c.passage.gate.watcher.remove(c.passage)
	return c.Conn.Close()
}

// CloseWrite closes the writing direction, which proxies need, or the whole
// connection if that is not possible.
func (c *watchedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// ReadFrom implements [io.ReaderFrom], so that the kernel can copy the data.
func (c *watchedConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// WriteTo implements [io.WriterTo].
func (c *watchedConn) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, c.Conn) }
