package entratest

// user is a person of the tenant.
type user struct {
	id, name, upn string
}

// user finds one by object ID; nil: none. The caller holds mu.
func (t *Tenant) user(id string) *user {
	for _, u := range t.users {
		if u.id == id {
			return u
		}
	}
	return nil
}
