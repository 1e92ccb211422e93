package appaccess

// PutEntity lets external tests write what Service writes.
func PutEntity[T entity](w Writer, v *T) error { return put(w, v) }

// DeleteEntity removes it.
func DeleteEntity[T entity](w Writer, id string) error { return w.Delete(kindOf[T](), id) }

// LastUse reads what Catalog.Used has led to.
var LastUse = lastUse

// What tests hold on to.
const (
	DownAfter   = downAfter
	LoadTimeout = loadTimeout
	MaxLoads    = maxLoads
	MaxWaiting  = maxWaiting
	MaxUses     = maxUses
)
