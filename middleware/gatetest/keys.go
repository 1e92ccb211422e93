package gatetest

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"sync"
	"time"

	"github.com/entragate/entragate/internal/testkit"
)

// ownKeys are the attacker's keys. Generating a key is slow, so all attacks of a process
// share them.
var ownKeys struct {
	sync.Mutex
	keys []*rsa.PrivateKey
}

// ownKey returns the attacker's nth key. No tenant publishes it, unless an
// attack makes the tenant publish it.
func ownKey(n int) *rsa.PrivateKey {
	ownKeys.Lock()
	defer ownKeys.Unlock()
	for len(ownKeys.keys) <= n {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(fmt.Sprintf("gatetest: cannot make a key: %v", err))
		}
		ownKeys.keys = append(ownKeys.keys, key)
	}
	return ownKeys.keys[n]
}

// certificate returns a self-signed certificate of a key, as DER.
func certificate(key *rsa.PrivateKey) []byte {
	return testkit.Certificate(key, "accounts.accesscontrol.windows.net", time.Unix(0, 0), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)).Raw
}
