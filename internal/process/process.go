// Package process names processes, so that the lock of a process that died on the same
// machine can be taken at once. For processes of other machines, and on systems other
// than Linux, it knows nothing, and the lock lasts until it expires.
package process

import (
	"os"
	"strconv"
	"strings"
	"sync"
)

// ID names this process: boot, PID namespace and PID. It is empty where the system does
// not show them.
var ID = sync.OnceValue(func() string {
	place := place()
	if place == "" {
		return ""
	}
	return place + "/" + strconv.Itoa(os.Getpid())
})

// Dead reports whether a process is known to have died. False says nothing: it
// may run elsewhere, its PID may have been given to another, or the ID may be
// empty or malformed.
func Dead(id string) bool {
	at, number, ok := cutLast(id)
	if !ok || at == "" || at != place() {
		return false
	}
	pid, err := strconv.Atoi(number)
	return err == nil && pid > 0 && gone(pid)
}

func cutLast(id string) (before, after string, found bool) {
	i := strings.LastIndexByte(id, '/')
	if i < 0 {
		return "", "", false
	}
	return id[:i], id[i+1:], true
}
