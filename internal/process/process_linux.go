package process

import (
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
)

// place is where PIDs mean the same: one boot of one kernel, one namespace.
// Host names would not do: containers may share one and not see each other.
var place = sync.OnceValue(func() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "/" + namespace
})

// gone asks the kernel, which knows also of processes that /proc hides.
func gone(pid int) bool {
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}
