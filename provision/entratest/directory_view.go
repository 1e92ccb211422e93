package entratest

import "time"

// view is the state of the directory on one replica at one time. Its methods return nil
// for objects that the replica does not have. It is guarded by Tenant.mu.
type view struct {
	s       *store
	replica int
	now     time.Time
}

// newest returns the newest state, which writes change.
func (t *Tenant) newest() view { return view{&t.store, -1, t.now()} }

// replica returns the state of a random replica, for one request.
func (t *Tenant) replica() view {
	return view{&t.store, t.rng.IntN(t.cfg.Replicas), t.now()}
}

func (v view) application(id string) *application {
	a := v.s.apps[id].at(v.replica, v.now)
	if a == nil || a.DeletedDateTime != nil {
		return nil
	}
	return a
}

func (v view) deletedApplication(id string) *application {
	a := v.s.apps[id].at(v.replica, v.now)
	if a == nil || a.DeletedDateTime == nil {
		return nil
	}
	return a
}

func (v view) principal(id string) *servicePrincipal {
	sp := v.s.sps[id].at(v.replica, v.now)
	if sp == nil || sp.DeletedDateTime != nil {
		return nil
	}
	return sp
}

func (v view) deletedPrincipal(id string) *servicePrincipal {
	sp := v.s.sps[id].at(v.replica, v.now)
	if sp == nil || sp.DeletedDateTime == nil {
		return nil
	}
	return sp
}

func (v view) principalOf(appID string) *servicePrincipal {
	for _, id := range v.s.spByAppID[appID] {
		if sp := v.principal(id); sp != nil {
			return sp
		}
	}
	return nil
}

func (v view) applicationOf(appID string) *application {
	return v.application(v.s.byAppID[appID])
}

func (v view) assignment(id string) *assignment {
	return v.s.grants[id].at(v.replica, v.now)
}

func (v view) held(principalID string) []*assignment {
	return v.assignments(v.s.byPrincipal[principalID])
}

func (v view) given(resourceID string) []*assignment {
	return v.assignments(v.s.byResource[resourceID])
}

func (v view) assignments(ids []string) []*assignment {
	var all []*assignment
	for _, id := range ids {
		if g := v.assignment(id); g != nil {
			all = append(all, g)
		}
	}
	return all
}

// resource finds the service principal that a scope names by its application ID, by one of
// its App ID URIs, or as Graph.
func (v view) resource(name, graphBase string) *servicePrincipal {
	if name == graphBase || name == graphBase+"/" || name == "https://graph.microsoft.com" || name == "https://graph.microsoft.com/" {
		name = GraphAppID
	}
	if sp := v.principalOf(name); sp != nil {
		return sp
	}
	if a := v.application(v.s.byURI[name]); a != nil {
		return v.principalOf(a.AppID)
	}
	return nil
}
