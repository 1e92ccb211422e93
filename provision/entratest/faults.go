package entratest

import (
	"fmt"
	"time"
)

// Service is the part of the tenant that a request goes to.
type Service string

// The services.
const (
	GraphService    Service = "graph"
	TokenService    Service = "token"
	KeysService     Service = "keys"
	MetadataService Service = "metadata" // discovery documents
	SignInService   Service = "signin"   // authorize, sign-in page, sign-out
	IdentityService Service = "identity" // managed identity endpoint
)

// Request is a request as faults and the log see it. It holds no secret.
type Request struct {
	// N counts the Graph requests of the tenant's life from 1: plain requests,
	// $batch envelopes, and each item within one, in the order they are met. It
	// is 0 for other services.
	N       int
	Service Service
	Method  string
	Path    string // as sent, with the query for Graph
	AppID   string // of the caller, once known
	Batch   bool   // the envelope of a $batch
	Item    bool   // an item within one
	Write   bool   // changes the directory; false for an envelope
}

// FaultKind is what goes wrong.
type FaultKind int

// The kinds of fault. "Before" fails without doing what was asked, "After"
// does it and loses the answer; for a $batch envelope that is all its items.
const (
	NoFault           FaultKind = iota
	Throttle                    // 429 with Retry-After
	ThrottleBare                // 429 without Retry-After
	UnavailableBefore           // 503
	UnavailableAfter            // 503
	TimeoutBefore               // 504
	TimeoutAfter                // 504
	CutBefore                   // the connection ends without an answer
	CutAfter                    // likewise; within a $batch the whole answer is lost
	Refuse                      // the status, code and message in Fault, before
	lastFault         = Refuse
)

var faultNames = [...]string{"none", "throttle", "throttle without Retry-After", "503 before", "503 after",
	"504 before", "504 after", "cut before", "cut after", "refuse"}

func (k FaultKind) String() string {
	if k < 0 || int(k) >= len(faultNames) {
		return fmt.Sprintf("FaultKind(%d)", int(k))
	}
	return faultNames[k]
}

// after reports whether the request is carried out all the same.
func (k FaultKind) after() bool {
	return k == UnavailableAfter || k == TimeoutAfter || k == CutAfter
}

func (k FaultKind) cuts() bool { return k == CutBefore || k == CutAfter }

// Fault describes how one request fails. The zero value means that it does not fail.
type Fault struct {
	Kind FaultKind
	// RetryAfter is sent with Throttle, in whole seconds; 0: 10 s.
	RetryAfter time.Duration
	// Status, Code and Message are the answer of Refuse.
	Status        int
	Code, Message string
}

type faults struct {
	onRequest func(Request) Fault
	at        map[int]Fault
}

// OnRequest replaces the function that decides a fault for each request of any
// service; nil: none. It is asked first, then FailAt, then the random faults.
// It must not call the Tenant. Refuse is for Graph only; at other services it answers
// with its status and no body.
func (t *Tenant) OnRequest(f func(Request) Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults.onRequest = f
}

// FailAt makes the Graph request with N == k fail.
func (t *Tenant) FailAt(k int, f Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.faults.at == nil {
		t.faults.at = map[int]Fault{}
	}
	t.faults.at[k] = f
}

// SetFaultRate changes Config.FaultRate: 0 ends the random faults.
func (t *Tenant) SetFaultRate(rate float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cfg.FaultRate = min(max(rate, 0), 1)
}

// SetLag changes Config.Lag for changes to come.
func (t *Tenant) SetLag(l Lag) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cfg.Lag = Lag{Min: max(l.Min, 0), Max: max(l.Max, l.Min, 0)}
}

// fault decides what happens to a request. The caller holds mu.
func (t *Tenant) fault(r Request) Fault {
	if f := t.faults.onRequest; f != nil {
		if fault := f(r); fault.Kind != NoFault {
			return fault
		}
	}
	if r.Service != GraphService {
		return Fault{}
	}
	if f, ok := t.faults.at[r.N]; ok {
		return f
	}
	if t.cfg.FaultRate > 0 && t.rng.Float64() < t.cfg.FaultRate {
		return t.randomFault()
	}
	return Fault{}
}

func (t *Tenant) randomFault() Fault {
	f := Fault{RetryAfter: time.Duration(1+t.rng.IntN(10)) * time.Second}
	if kinds := t.cfg.FaultKinds; len(kinds) > 0 {
		f.Kind = kinds[t.rng.IntN(len(kinds))]
	} else {
		f.Kind = FaultKind(1 + t.rng.IntN(int(CutAfter)))
	}
	return f
}

func (f Fault) retryAfter() int {
	if f.RetryAfter <= 0 {
		return 10
	}
	return int((f.RetryAfter + time.Second - 1) / time.Second)
}
