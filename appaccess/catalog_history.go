package appaccess

import "time"

// changeLog is what a Catalog remembers of the feed, to decide whether a state that
// it read is older than a change, or belongs to another history.
type changeLog struct {
	last  uint64 // number of the last change; the first is 1
	reset uint64 // number of the last Reset
	ring  [1024]recordRef

	applied Position      // up to which changes were applied
	passed  [256]Position // the last ones that were applied, by revision
	// ahead are positions that reads have shown before the feed did, the newest
	// last. If the feed does not reach them, the reads showed commits that were
	// lost.
	ahead []sighting
}

// sighting is a position that a read has shown, and when.
type sighting struct {
	Position
	at time.Time
}

const maxAhead = 64

func (l *changeLog) add(r recordRef) {
	l.last++
	l.ring[l.last%uint64(len(l.ring))] = r
}

func (l *changeLog) addReset() {
	l.last++
	l.ring[l.last%uint64(len(l.ring))] = 0
	l.reset = l.last
	l.ahead = nil
}

// changed reports whether one of the records may have changed after the change
// with number mark.
func (l *changeLog) changed(mark uint64, refs []recordRef) bool {
	if l.reset > mark || l.last-mark >= uint64(len(l.ring)) {
		return true
	}
	for i := mark + 1; i <= l.last; i++ {
		for _, r := range refs {
			if l.ring[i%uint64(len(l.ring))] == r {
				return true
			}
		}
	}
	return false
}

// apply notes that the feed has reached a position, and, if asOf is not zero,
// that nothing else was committed before that time. It returns false if a read
// has shown another history.
func (l *changeLog) apply(at Position, asOf time.Time) bool {
	for len(l.ahead) > 0 && l.ahead[0].Revision <= at.Revision {
		if l.ahead[0].Revision == at.Revision && l.ahead[0].Position != at {
			return false
		}
		l.ahead = l.ahead[1:]
	}
	if len(l.ahead) > 0 && asOf.After(l.ahead[0].at) {
		return false
	}
	l.applied = at
	l.passed[int(at.Revision)%len(l.passed)] = at
	return true
}

// verdict says what a state that was read is worth.
type verdict int

const (
	sameHistory verdict = iota
	anotherHistory
	unknownHistory // too long ago to decide
)

// compare says whether the state at a position is of the history that the feed
// reports. since is how far the feed was when the read began.
func (l *changeLog) compare(at, since Position) verdict {
	switch {
	case at.Revision < since.Revision:
		return anotherHistory // it went back
	case at.Revision == l.applied.Revision && at != l.applied:
		return anotherHistory
	case at.Revision > l.applied.Revision:
		if n := len(l.ahead); n == 0 || at.Revision > l.ahead[n-1].Revision {
			l.ahead = append(l.ahead[:min(n, maxAhead-1)], sighting{at, time.Now()})
		}
		return sameHistory // as far as is known; apply decides
	case at.Revision < l.applied.Revision:
		switch passed := l.passed[int(at.Revision)%len(l.passed)]; {
		case passed == at || at == since:
			return sameHistory
		case passed.Revision == at.Revision:
			return anotherHistory
		}
		return unknownHistory
	}
	return sameHistory
}
