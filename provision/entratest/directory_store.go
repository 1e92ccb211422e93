package entratest

import (
	"slices"
	"time"
)

// store holds the versions of all objects, with the time from which each replica shows
// them. It is guarded by Tenant.mu.
type store struct {
	replicas int
	apps     map[string]*object[application]
	sps      map[string]*object[servicePrincipal]
	grants   map[string]*object[assignment]

	appOrder, spOrder []string // by creation

	// Indexes of the newest state. They contain soft-deleted objects, too, because
	// these reserve their names.
	byAppID      map[string]string
	byUniqueName map[string]string
	byURI        map[string]string
	spByAppID    map[string][]string
	byPrincipal  map[string][]string
	byResource   map[string][]string

	bin    []deletion               // soft-deleted, oldest first
	graves map[string][]*assignment // by service principal: assignments that were deleted with it
	gone   []purged                 // objects that were deleted permanently
}

// purged is an object that was deleted permanently. It counts against its creator's quota
// for some time.
type purged struct {
	by string // appId of its creator
	at time.Time
}

type deletion struct {
	id string
	at time.Time
}

type object[T any] struct {
	versions []version[T] // oldest first, never empty
}

type version[T any] struct {
	value   *T // nil: deleted permanently
	visible []time.Time
}

func (s *store) init(replicas int) {
	*s = store{
		replicas:     replicas,
		apps:         map[string]*object[application]{},
		sps:          map[string]*object[servicePrincipal]{},
		grants:       map[string]*object[assignment]{},
		byAppID:      map[string]string{},
		byUniqueName: map[string]string{},
		byURI:        map[string]string{},
		spByAppID:    map[string][]string{},
		byPrincipal:  map[string][]string{},
		byResource:   map[string][]string{},
		graves:       map[string][]*assignment{},
	}
}

// at returns the version that a replica shows, or the newest one if replica is negative.
func (o *object[T]) at(replica int, now time.Time) *T {
	if o == nil {
		return nil
	}
	if replica < 0 {
		return o.versions[len(o.versions)-1].value
	}
	for _, v := range slices.Backward(o.versions) {
		if !v.visible[replica].After(now) {
			return v.value
		}
	}
	return nil
}

// settled returns the time from which all replicas show the newest version.
func (o *object[T]) settled() time.Time {
	return slices.MaxFunc(o.versions[len(o.versions)-1].visible, time.Time.Compare)
}

// push adds a version, and drops the versions that no replica shows any more.
func (o *object[T]) push(v version[T], now time.Time) {
	o.versions = append(o.versions, v)
	for i, v := range slices.Backward(o.versions) {
		if !slices.MaxFunc(v.visible, time.Time.Compare).After(now) {
			o.versions = slices.Delete(o.versions, 0, i)
			return
		}
	}
}

// spread generates the times at which a change of now reaches each replica. It reaches
// the first replica at once. The caller holds mu.
func (t *Tenant) spread() []time.Time {
	now := t.now()
	at := make([]time.Time, t.cfg.Replicas)
	for i := range at {
		at[i] = now
		if i > 0 && t.cfg.Lag.Max > 0 {
			d := t.cfg.Lag.Min
			if span := t.cfg.Lag.Max - t.cfg.Lag.Min; span > 0 {
				d += time.Duration(t.rng.Int64N(int64(span)))
			}
			at[i] = now.Add(d)
		}
	}
	if t.cfg.Replicas == 1 && t.cfg.Lag.Max > 0 {
		at[0] = now.Add(t.cfg.Lag.Min)
	}
	return at
}

// instantly returns the times for a seeded object, which all replicas show at once.
func (t *Tenant) instantly() []time.Time {
	return make([]time.Time, t.cfg.Replicas)
}

func push[T any](m map[string]*object[T], id string, v version[T], now time.Time) {
	o := m[id]
	if o == nil {
		o = &object[T]{}
		m[id] = o
	}
	o.push(v, now)
}

// putApplication stores a new or changed application and copies its keys and names
// to its service principal.
func (t *Tenant) putApplication(a *application, at []time.Time) {
	s := &t.store
	if old := s.apps[a.ID].at(-1, time.Time{}); old != nil {
		for _, uri := range old.IdentifierURIs {
			delete(s.byURI, uri)
		}
	} else {
		s.appOrder = append(s.appOrder, a.ID)
	}
	push(s.apps, a.ID, version[application]{a, at}, t.now())
	s.byAppID[a.AppID] = a.ID
	if a.UniqueName != nil {
		s.byUniqueName[*a.UniqueName] = a.ID
	}
	for _, uri := range a.IdentifierURIs {
		s.byURI[uri] = a.ID
	}
	if sp := t.newest().principalOf(a.AppID); sp != nil && a.DeletedDateTime == nil {
		if m := mirror(sp, a); m != nil {
			t.putPrincipal(m, t.respread(at))
		}
	}
}

// respread generates other times for a service principal that changes together with its
// application, unless the change is a seed.
func (t *Tenant) respread(at []time.Time) []time.Time {
	if at[0].IsZero() {
		return at
	}
	return t.spread()
}

// mirror returns a copy of the service principal with the properties that Entra copies
// from its application. It returns nil if the service principal has them already.
func mirror(sp *servicePrincipal, a *application) *servicePrincipal {
	names := append([]string{a.AppID}, a.IdentifierURIs...)
	if sp.DisplayName == a.DisplayName && sp.SignInAudience == a.SignInAudience && sp.disabled() == a.disabled() &&
		slices.Equal(sp.ServicePrincipalNames, names) && slices.EqualFunc(sp.AppRoles, a.AppRoles, sameRole) {
		return nil
	}
	m := sp.clone()
	m.DisplayName, m.AppDisplayName, m.SignInAudience = a.DisplayName, a.DisplayName, a.SignInAudience
	m.ServicePrincipalNames, m.AppRoles, m.IsDisabled = names, a.AppRoles, a.IsDisabled
	return m
}

func (t *Tenant) putPrincipal(sp *servicePrincipal, at []time.Time) {
	s := &t.store
	if s.sps[sp.ID] == nil {
		s.spOrder = append(s.spOrder, sp.ID)
		s.spByAppID[sp.AppID] = append(s.spByAppID[sp.AppID], sp.ID)
	}
	push(s.sps, sp.ID, version[servicePrincipal]{sp, at}, t.now())
}

func (t *Tenant) putAssignment(g *assignment, at []time.Time) {
	s := &t.store
	if s.grants[g.ID] == nil {
		s.byPrincipal[g.PrincipalID] = append(s.byPrincipal[g.PrincipalID], g.ID)
		s.byResource[g.ResourceID] = append(s.byResource[g.ResourceID], g.ID)
	}
	push(s.grants, g.ID, version[assignment]{g, at}, t.now())
}

// dropAssignment deletes an assignment. A replica shows it until the change reaches the
// replica.
func (t *Tenant) dropAssignment(id string, at []time.Time) {
	push(t.store.grants, id, version[assignment]{nil, at}, t.now())
}

// forgetApplication deletes a soft-deleted application permanently.
func (t *Tenant) forgetApplication(a *application) {
	s := &t.store
	t.countPurged(a.CreatedByAppID, a.DeletedDateTime)
	delete(s.byAppID, a.AppID)
	if a.UniqueName != nil {
		delete(s.byUniqueName, *a.UniqueName)
	}
	for _, uri := range a.IdentifierURIs {
		delete(s.byURI, uri)
	}
	push(s.apps, a.ID, version[application]{nil, t.spread()}, t.now())
	s.appOrder = slices.DeleteFunc(s.appOrder, func(id string) bool { return id == a.ID })
}

func (t *Tenant) forgetPrincipal(sp *servicePrincipal) {
	s := &t.store
	t.countPurged(sp.CreatedByAppID, sp.DeletedDateTime)
	s.spByAppID[sp.AppID] = slices.DeleteFunc(s.spByAppID[sp.AppID], func(id string) bool { return id == sp.ID })
	push(s.sps, sp.ID, version[servicePrincipal]{nil, t.spread()}, t.now())
	s.spOrder = slices.DeleteFunc(s.spOrder, func(id string) bool { return id == sp.ID })
}
