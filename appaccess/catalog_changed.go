package appaccess

// Changed returns a channel that is closed as soon as an answer of the Catalog may
// differ from the answers before the call. A caller that waits for a revocation then
// asks again, because most changes concern other objects. Two changes of an answer
// close no channel: KeyState.Expires passes, and the store becomes unreachable.
func (c *Catalog) Changed() <-chan struct{} { return c.changes.Next() }
