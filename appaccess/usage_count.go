package appaccess

import (
	"sync"
	"sync/atomic"
	"time"
)

// Call is one decision of a gate, as usage counts it.
type Call struct {
	ClientID       string // of a genuine token
	SubscriptionID string // of a valid key; without ClientID and SubscriptionID the caller is unknown
	API            string // API ID; may be empty
	Operation      string // operation ID; may be empty
	// Reason is the reason of the refusal, one of package middleware's; empty if the
	// call passed.
	Reason string
	// Failed: the gate could not decide (503).
	Failed bool
	// Error: the call passed, and the API answered 500 or more, or not at all.
	Error bool
	Time  time.Time
}

// callKey is the key under which calls are counted together.
type callKey struct{ caller, api, operation, reason string }

// callCount is the number of calls and the time of the last.
type callCount struct {
	calls, failed, errors int64
	last                  time.Time
}

const (
	callShards = 16
	// maxCallKeys bounds the memory of a shard between two writes. When a shard is
	// full, calls are counted without their operation, and then without their caller.
	maxCallKeys = 512

	callerUnknown = "unknown"
	callerOther   = "other"
	otherOps      = "other"
)

// callLog counts calls between two writes. It is split so that callers on many
// processors rarely wait for each other.
type callLog struct {
	shards  [callShards]callShard
	dropped atomic.Int64 // calls that could not be written

	// outcomes are the calls of this process since its start, for metrics.
	outcomesMu sync.Mutex
	outcomes   map[outcomeKey]int64
}

// outcomeKey is what metrics distinguish. The outcome is passed, error, or the reason
// of a refusal.
type outcomeKey struct{ api, operation, outcome string }

// maxOutcomes bounds what metrics distinguish. Further calls are counted without API
// and operation.
const maxOutcomes = 2000

// noteOutcomes adds the calls that were taken from the log.
func (l *callLog) noteOutcomes(counts map[callKey]*callCount) {
	l.outcomesMu.Lock()
	defer l.outcomesMu.Unlock()
	if l.outcomes == nil {
		l.outcomes = map[outcomeKey]int64{}
	}
	add := func(key outcomeKey, n int64) {
		if _, known := l.outcomes[key]; !known && len(l.outcomes) >= maxOutcomes {
			key.api, key.operation = otherOps, otherOps
		}
		if n > 0 {
			l.outcomes[key] += n
		}
	}
	for key, n := range counts {
		if key.reason != "" {
			add(outcomeKey{key.api, key.operation, key.reason}, n.calls)
			continue
		}
		add(outcomeKey{key.api, key.operation, "passed"}, n.calls-n.errors)
		add(outcomeKey{key.api, key.operation, "error"}, n.errors)
	}
}

// observe yields the outcomes.
func (l *callLog) observe(yield func(outcomeKey, int64)) {
	l.outcomesMu.Lock()
	defer l.outcomesMu.Unlock()
	for key, n := range l.outcomes {
		yield(key, n)
	}
}

type callShard struct {
	mu     sync.Mutex
	counts map[callKey]*callCount
	// recent saves most calls the hash of four strings.
	recent [recentCalls]struct {
		key callKey
		n   *callCount
	}
	_ [48]byte // a cache line of its own
}

const recentCalls = 16

// add makes room for a new count.
func (s *callShard) add(key callKey) *callCount {
	if len(s.counts) >= maxCallKeys {
		key.operation = otherOps
	}
	if len(s.counts) >= 2*maxCallKeys {
		key = callKey{caller: callerOther}
	}
	n := s.counts[key]
	if n == nil {
		n = &callCount{}
		if s.counts == nil {
			s.counts = map[callKey]*callCount{}
		}
		s.counts[key] = n
	}
	return n
}

// take empties the log.
func (l *callLog) take() map[callKey]*callCount {
	all := map[callKey]*callCount{}
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for key, n := range s.counts {
			if sum := all[key]; sum != nil { // several shards may count the same key
				sum.calls, sum.failed, sum.errors = sum.calls+n.calls, sum.failed+n.failed, sum.errors+n.errors
				continue
			}
			all[key] = n
		}
		s.counts = nil
		clear(s.recent[:])
		s.mu.Unlock()
	}
	return all
}

// CountCall counts a gate's decision. It never waits for the store: the counts are
// written once per UsageInterval, and a process that dies loses the counts of one
// interval. Memory is bounded: unknown callers share one count, and so do callers and
// operations beyond some eight thousand in an interval.
func (c *Catalog) CountCall(call Call) {
	if c.usage.interval == 0 {
		return
	}
	key := callKey{caller: callerUnknown, api: call.API, operation: call.Operation, reason: call.Reason}
	switch {
	case call.SubscriptionID != "":
		key.caller = call.SubscriptionID
	case call.ClientID != "":
		key.caller = call.ClientID
	}
	shard := &c.calls.shards[shardOf(key.caller)]
	shard.mu.Lock()
	recent := &shard.recent[(len(key.operation)+len(key.reason)+spread(key.caller))%recentCalls]
	n := recent.n
	if n == nil || recent.key != key {
		if n = shard.counts[key]; n == nil {
			n = shard.add(key)
		}
		recent.key, recent.n = key, n
	}
	n.calls++
	if call.Failed {
		n.failed++
	}
	if call.Error {
		n.errors++
	}
	if call.Time.After(n.last) {
		n.last = call.Time
	}
	shard.mu.Unlock()
}

// spread distributes callers over a shard's places.
func spread(caller string) int {
	if len(caller) < 2 {
		return 0
	}
	return int(caller[len(caller)-1] + caller[len(caller)-2]>>2)
}

func shardOf(caller string) int {
	if len(caller) < 2 {
		return 0
	}
	return int(caller[len(caller)-1]^caller[len(caller)-2]<<2) % callShards
}
