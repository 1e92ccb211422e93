package appaccess

import (
	"context"
	"time"
)

// PutEntity lets external tests write what Service writes.
func PutEntity[T entity](w Writer, v *T) error {
	r, err := encode(v)
	if err != nil {
		return err
	}
	return w.Put(r)
}

// DeleteEntity removes it.
func DeleteEntity[T entity](w Writer, id string) error { return w.Delete(kindOf[T](), id) }

// What tests hold on to.
const (
	DownAfter   = downAfter
	LoadTimeout = loadTimeout
	MaxWaiting  = maxWaiting
)

// FlushCalls writes what was counted, as at a time.
func (c *Catalog) FlushCalls(ctx context.Context, at time.Time) { c.flushCalls(ctx, at) }

// CountAlways lets a catalog count without a store.
func CountAlways(c *Catalog) { c.usage.interval = time.Hour }

// PutIntoFullPlan writes a record into a plan that changes as many as it may.
func PutIntoFullPlan(r Reader, rec Record) error {
	c := newOverlayStore(nil).changes
	c.order = make([]recordKey, maxPlanned)
	return c.over(r).Put(rec)
}
