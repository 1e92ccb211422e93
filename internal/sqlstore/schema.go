package sqlstore

import "fmt"

// Migration leads from one version of a schema to the next. The first one makes
// version 1.
type Migration struct {
	SQL string
	// Oldest is the version that a program must know to go on using the store: 0
	// if what the migration adds does not disturb older programs. It must be the
	// new version if older programs would fail or do harm. That is so as well if
	// records get new fields: an older program drops them from what it writes.
	Oldest int
}

// Oldest is the version that a program must know to use a schema.
func Oldest(migrations []Migration) int {
	oldest := 0
	for _, m := range migrations {
		oldest = max(oldest, m.Oldest)
	}
	return oldest
}

// CheckVersion refuses a schema that a program does not know well enough.
func CheckVersion(known, oldest int) error {
	if oldest <= known {
		return nil
	}
	return fmt.Errorf("a newer program has upgraded the store: its schema needs a program that knows version %d, this one knows version %d: replace it by the newer one, or restore a backup from before the upgrade", oldest, known)
}
