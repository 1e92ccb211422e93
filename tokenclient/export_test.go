package tokenclient

// Idle reports whether no fetch is under way.
func (s *Source) Idle() bool { return s.flight.Load() == nil }
