package entratest

import (
	"fmt"
	"slices"
	"time"
)

// Counts are the requests that a tenant has met.
type Counts struct {
	Graph    int // Request.N so far: requests, envelopes and items
	Requests int // HTTP requests to Graph; a $batch is one
	Items    int // operations: requests that are no envelope, and items
	Writes   int // operations that would change the directory, done or refused
	Tokens   int // requests to the token and managed identity endpoints
	Keys     int // requests for signing keys
	Faults   int // faults that were put in
	Early    int // operations sent again by their caller before the Retry-After that they were given was over
}

// Entry is one request in the log, with its answer. It holds no secret.
type Entry struct {
	Request
	Status int       // 0: the connection was cut
	Code   string    // Graph's error code or the AADSTS code
	Fault  FaultKind // what was put in
}

func (e Entry) String() string {
	s := fmt.Sprintf("%d %s %s %s: %d", e.N, e.Service, e.Method, e.Path, e.Status)
	if e.Code != "" {
		s += " " + e.Code
	}
	if e.Fault != NoFault {
		s += " [" + e.Fault.String() + "]"
	}
	return s
}

// logLimit bounds the log; the oldest entries go first.
const logLimit = 1 << 16

type record struct {
	counts   Counts
	log      []Entry
	misuses  []string
	misuse   func(string)
	reported map[string]bool
	held     map[string]time.Time // throttled operation: when it may be tried again
}

// Counts returns the counters so far.
func (t *Tenant) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.record.counts
}

// ResetCounts sets the counters to 0, except for Graph, which N goes on from,
// and empties the log.
func (t *Tenant) ResetCounts() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.record.counts = Counts{Graph: t.record.counts.Graph}
	t.record.log = nil
}

// Requests returns the log, oldest first: at least the last 32,768 requests.
func (t *Tenant) Requests() []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.record.log)
}

// Misuses describes the requests that no correct client sends, each text once. A
// refused request is not one of them: a client may try what it may not do.
func (t *Tenant) Misuses() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.record.misuses)
}

// misuse notes one. The caller holds mu.
func (t *Tenant) misuse(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r := &t.record
	if r.reported[text] {
		return
	}
	if r.reported == nil {
		r.reported = map[string]bool{}
	}
	r.reported[text] = true
	r.misuses = append(r.misuses, text)
	if r.misuse != nil {
		r.misuse(text)
	}
}

// pace counts an operation that comes before its Retry-After is over, and
// remembers one that is throttled now. The caller holds mu.
func (t *Tenant) pace(req Request, f Fault) {
	r := &t.record
	key := req.AppID + " " + req.Method + " " + req.Path
	if until, ok := r.held[key]; ok {
		if t.now().Before(until) {
			r.counts.Early++
		}
		delete(r.held, key)
	}
	if f.Kind != Throttle {
		return
	}
	if r.held == nil || len(r.held) > 4096 {
		r.held = map[string]time.Time{}
	}
	r.held[key] = t.now().Add(time.Duration(f.retryAfter()) * time.Second)
}

// note logs an answered request. The caller holds mu.
func (t *Tenant) note(e Entry) {
	r := &t.record
	if e.Fault != NoFault {
		r.counts.Faults++
	}
	if len(r.log) >= logLimit {
		r.log = slices.Clone(r.log[logLimit/2:])
	}
	r.log = append(r.log, e)
}
