package middleware_test

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/middleware"
)

// memory is a Catalog that remembers signing keys.
type memory struct {
	*catalog
	mu     sync.Mutex
	sets   map[string]appaccess.SigningKeys
	writes int
	err    error
}

func newMemory() *memory {
	return &memory{catalog: newCatalog(), sets: map[string]appaccess.SigningKeys{}}
}

func (m *memory) SigningKeys(_ context.Context, url string) (appaccess.SigningKeys, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.sets[url]
	if !ok && m.err == nil {
		return k, appaccess.ErrNotFound
	}
	return k, m.err
}

func (m *memory) RememberSigningKeys(_ context.Context, k appaccess.SigningKeys) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.sets[k.URL] = k
		m.writes++
	}
	return m.err
}

func (m *memory) written() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

func (m *memory) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.sets)
}

func (m *memory) stored(url string) appaccess.SigningKeys {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sets[url]
}

func (m *memory) replace(url string, k appaccess.SigningKeys) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sets[url] = k
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

const keysURL = authority + "/" + tenantID + "/discovery/v2.0/keys"

// remembering configures a gate whose Catalog remembers keys, and its log.
func remembering(e *entra, m *memory) (middleware.Config, *testkit.Log) {
	c := managed(e, nil)
	c.Catalog = m
	log := &testkit.Log{}
	c.Logger = log.Logger(slog.LevelInfo)
	return c, log
}

// filled is a memory to which a gate wrote the keys of now.
func filled(t *testing.T) *memory {
	t.Helper()
	m := newMemory()
	c, _ := remembering(newEntra(), m)
	g, err := middleware.New(c)
	require.NoError(t, err)
	require.NoError(t, g.Ready(t.Context()))
	synctest.Wait()
	require.NoError(t, g.Close())
	require.Equal(t, 1, m.written())
	return m
}

func TestColdStartWithRememberedKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := filled(t)
		fetched := time.Now()
		time.Sleep(20 * time.Hour)
		e := newEntra()
		e.answer = down
		c, log := remembering(e, m)
		g := open(t, c)
		h := g.Wrap(echo)
		w := call(h, mint(t, claims(nil)))
		require.Equal(t, 200, w.Code, "the first request passes")
		require.NoError(t, g.Ready(t.Context()))
		assert.Equal(t, 1, strings.Count(log.String(), "remembered signing keys used"), log.String())
		assert.Contains(t, log.String(), "until="+fetched.Add(24*time.Hour).UTC().Format(time.RFC3339))
		w = get(g.ReadyHandler(), "/ready")
		assert.Equal(t, 200, w.Code)
		assert.JSONEq(t, `{"ready":true,"keys":[{"tenant":"`+tenantID+`","ready":true,"ageSeconds":72000,"remembered":true}]}`, w.Body.String())
		assert.Equal(t, 503, call(h, mintWith(t, 2, claims(nil))).Code, "a key that is not remembered may be a new one")

		time.Sleep(4*time.Hour - time.Minute)
		assert.Equal(t, 200, call(h, mint(t, claims(nil))).Code)
		time.Sleep(time.Minute)
		assert.Equal(t, 503, call(h, mint(t, claims(nil))).Code, "24 hours after they were fetched")
		assert.Equal(t, 503, get(g.ReadyHandler(), "/ready").Code)
		assert.Equal(t, 1, m.written(), "remembered keys are not written again")

		e.set(func(e *entra) { e.answer = nil })
		time.Sleep(time.Minute)
		assert.Equal(t, 200, call(h, mint(t, claims(nil))).Code)
		assert.NotContains(t, get(g.ReadyHandler(), "/ready").Body.String(), "remembered")
	})
}

// A withdrawn key does not come back by the memory: the first answer of the
// endpoint decides, and tokens that passed meanwhile do not pass any more.
func TestFetchedKeysReplaceRememberedKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := filled(t)
		e := newEntra()
		e.answer = down
		c, _ := remembering(e, m)
		g := open(t, c)
		h := g.Wrap(echo)
		token := mint(t, claims(nil))
		require.Equal(t, 200, call(h, token).Code)
		e.rotate(2)
		e.set(func(e *entra) { e.answer = nil })
		time.Sleep(5 * time.Second)
		assert.Equal(t, 401, call(h, token).Code)
		assert.Equal(t, 200, call(h, mintWith(t, 2, claims(nil))).Code)
		assert.NotContains(t, string(m.stored(keysURL).Keys), `"k1"`)
	})
}

func TestRememberedKeysServeWhileTheEndpointHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := filled(t)
		e := newEntra()
		e.hold = make(chan struct{})
		c, _ := remembering(e, m)
		h := open(t, c).Wrap(echo)
		start := time.Now()
		assert.Equal(t, 200, call(h, mint(t, claims(nil))).Code)
		assert.Equal(t, 2*time.Second, time.Since(start))
		close(e.hold)
	})
}

func TestDeniedKeysAreNotUsedFromMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := filled(t)
		e := newEntra()
		e.answer = down
		c, _ := remembering(e, m)
		g := open(t, c)
		require.NoError(t, g.DenyKeys("k1"))
		assert.Equal(t, 401, call(g.Wrap(echo), mint(t, claims(nil))).Code)

		e = newEntra()
		e.keys["k2"] = testKeys()[1]
		c, _ = remembering(e, m)
		g = open(t, c)
		require.NoError(t, g.DenyKeys("k1"))
		synctest.Wait()
		time.Sleep(time.Hour)
		assert.NotContains(t, string(m.stored(keysURL).Keys), `"k1"`, "nor remembered")
	})
}

// Many replicas write one record every three hours, and at once what has changed.
func TestReplicasRememberKeysOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := filled(t)
		e := newEntra()
		for range 4 {
			c, _ := remembering(e, m)
			open(t, c)
			time.Sleep(time.Minute)
		}
		time.Sleep(12 * time.Hour)
		assert.InDelta(t, 4, m.written(), 1)
		e.set(func(e *entra) { e.keys["k2"] = testKeys()[1] })
		time.Sleep(61 * time.Minute)
		assert.Contains(t, string(m.stored(keysURL).Keys), `"k2"`)
		e.set(func(e *entra) { delete(e.keys, "k1") })
		time.Sleep(61 * time.Minute)
		assert.NotContains(t, string(m.stored(keysURL).Keys), `"k1"`, "a key that the last answer lacked is not remembered")
		assert.Less(t, m.written(), 12)
	})
}

func TestRememberedKeysThatAreNotUsed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*appaccess.SigningKeys)
		log    string
	}{
		"old":           {func(k *appaccess.SigningKeys) { k.Fetched = k.Fetched.Add(-24 * time.Hour) }, "they can be used for 24h"},
		"of the future": {func(k *appaccess.SigningKeys) { k.Fetched = k.Fetched.Add(6 * time.Minute) }, "in the future"},
		"another's":     {func(k *appaccess.SigningKeys) { k.URL = "https://evil.test/keys" }, "https://evil.test/keys"},
		"large": {func(k *appaccess.SigningKeys) {
			k.Keys = json.RawMessage(`{"x":"` + strings.Repeat("x", 256<<10) + `",` + string(k.Keys[1:]))
		}, "at most 262144 are allowed"},
		"malformed": {func(k *appaccess.SigningKeys) { k.Keys = k.Keys[1:] }, "no JSON Web Key Set"},
		"empty":     {func(k *appaccess.SigningKeys) { k.Keys = json.RawMessage(`{"keys":[]}`) }, "no usable key"},
		"weak": {func(k *appaccess.SigningKeys) {
			k.Keys = json.RawMessage(strings.Replace(string(k.Keys), "AQAB", "Aw", 1))
		}, "no usable key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := filled(t)
				k := m.stored(keysURL)
				tc.change(&k)
				m.replace(keysURL, k)
				e := newEntra()
				e.answer = down
				c, log := remembering(e, m)
				h := open(t, c).Wrap(echo)
				assert.Equal(t, 503, call(h, mint(t, claims(nil))).Code)
				assert.Contains(t, log.String(), "remembered signing keys not used")
				assert.Contains(t, log.String(), tc.log)
			})
		})
	}
}

func TestAMemoryThatFailsIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.fail(errors.New("disk full"))
		c, log := remembering(newEntra(), m)
		h := open(t, c).Wrap(echo)
		assert.Equal(t, 200, call(h, mint(t, claims(nil))).Code)
		synctest.Wait()
		assert.Contains(t, log.String(), `"signing keys not remembered"`)
		assert.Contains(t, log.String(), "disk full")
	})
}

// Each tenant has a record of its own.
func TestKeysOfSeveralTenantsAreRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		e := hosts(map[string]*rsa.PrivateKey{"login.test": testKeys()[0], "login.sovcloud-identity.fr": testKeys()[1]})
		c, _ := remembering(e, m)
		c.MoreTenants = []middleware.Tenant{{ID: secondTenant, Cloud: "bleu"}}
		g := open(t, c)
		require.NoError(t, g.Ready(t.Context()))
		synctest.Wait()
		assert.Equal(t, 2, m.size())
		require.NoError(t, g.Close())
		e.set(func(e *entra) { e.answer = down })
		h := open(t, c).Wrap(echo)
		there := object{"iss": "https://login.sovcloud-identity.fr/" + secondTenant + "/v2.0", "tid": secondTenant}
		with := func(key int, c object) int {
			return call(h, sign(t, testKeys()[key], object{"typ": "JWT", "alg": "RS256", "kid": "k1"}, claims(c))).Code
		}
		assert.Equal(t, []int{200, 200, 401, 401}, []int{with(0, nil), with(1, there), with(1, nil), with(0, there)})
	})
}

// The catalog of package appaccess remembers keys in its store.
func TestColdStartWithKeysFromTheStore(t *testing.T) {
	t.Parallel()
	e := newEntra()
	c := managed(e, nil)
	known, _ := storedIn(t)
	c.Catalog = known
	g, err := middleware.New(c)
	require.NoError(t, err)
	require.NoError(t, g.Ready(t.Context()))
	require.Eventually(t, func() bool {
		_, err := known.SigningKeys(t.Context(), keysURL)
		return err == nil
	}, 30*time.Second, 5*time.Millisecond)
	require.NoError(t, g.Close())
	e.set(func(e *entra) { e.answer = down })
	assert.Equal(t, http.StatusOK, call(open(t, c).Wrap(echo), mint(t, claims(nil))).Code)
}
