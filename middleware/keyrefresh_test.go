package middleware_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Microsoft's endpoint was seen to alternate between two sets. Neither set's keys
// stop working for that.
func TestFlappingKeySets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		e.keys["k2"] = testKeys()[1]
		g := open(t, config(e))
		h := g.Product("starter")(echo)
		require.NoError(t, g.Ready(t.Context()))
		both := e.document()
		e.rotate(2)
		only := e.document()
		e.set(func(e *entra) {
			e.answer = func(*http.Request) (*http.Response, error) {
				e.mu.Lock()
				defer e.mu.Unlock()
				if e.fetches%2 == 0 {
					return respond(200, only), nil
				}
				return respond(200, both), nil
			}
		})
		before := e.count()
		for range 360 {
			time.Sleep(time.Minute)
			require.Equal(t, 200, call(h, mintWith(t, 1, claims(nil))).Code)
			require.Equal(t, 200, call(h, mintWith(t, 2, claims(nil))).Code)
		}
		assert.Greater(t, e.count(), before+8, "both answers were seen")
	})
}

// A withdrawn key is dropped after three answers, 5 minutes apart, and requests
// with invented key IDs cannot hurry that.
func TestWithdrawnKeyIsDropped(t *testing.T) {
	t.Parallel()
	for _, flood := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			e := newEntra()
			e.keys["k2"] = testKeys()[1]
			g := open(t, config(e))
			h := g.Product("starter")(echo)
			require.NoError(t, g.Ready(t.Context()))
			time.Sleep(5 * time.Minute)
			e.rotate(2)
			withdrawn := time.Now()
			for call(h, mintWith(t, 1, claims(nil))).Code == 200 {
				if flood {
					call(h, sign(t, testKeys()[3], object{"typ": "JWT", "alg": "RS256", "kid": "invented"}, claims(nil)))
				}
				require.Less(t, time.Since(withdrawn), 75*time.Minute)
				time.Sleep(30 * time.Second)
			}
			assert.GreaterOrEqual(t, time.Since(withdrawn), 8*time.Minute)
			w := call(h, mintWith(t, 1, claims(nil)))
			assert.Equal(t, 401, w.Code)
			assert.Contains(t, w.Header().Get("WWW-Authenticate"), "TokenSignatureKeyNotFound")
			assert.Equal(t, 200, call(h, mintWith(t, 2, claims(nil))).Code)
		})
	}
}

// A denied key is refused at once and for good, whatever is published.
func TestDenyKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		e.keys["k2"] = testKeys()[1]
		g := open(t, config(e))
		h := g.Product("starter")(echo)
		token := mintWith(t, 1, claims(nil))
		assert.Equal(t, 200, call(h, token).Code)
		require.NoError(t, g.DenyKeys("k1", "k7"))
		assert.Equal(t, 401, call(h, token).Code, "though its check was remembered")
		fetches := e.count()
		time.Sleep(time.Minute)
		assert.Equal(t, 401, call(h, token).Code)
		assert.Equal(t, fetches, e.count(), "nobody asks for a denied key")
		time.Sleep(2 * time.Hour)
		assert.Equal(t, 401, call(h, mintWith(t, 1, claims(nil))).Code)
		assert.Equal(t, 200, call(h, mintWith(t, 2, claims(nil))).Code)
		require.NoError(t, g.DenyKeys("k2"))
		assert.Equal(t, 401, call(h, mintWith(t, 2, claims(nil))).Code, "nor does the last key stay")
	})
	synctest.Test(t, func(t *testing.T) { // before the first fetch
		e := newEntra()
		e.hold = make(chan struct{})
		g := open(t, config(e))
		require.NoError(t, g.DenyKeys("k1"))
		close(e.hold)
		require.NoError(t, g.Ready(t.Context()))
		assert.Equal(t, 401, call(g.Product("starter")(echo), mint(t, claims(nil))).Code)
	})
}

// A malformed entry spoils no other, and a byte order mark nothing.
func TestMalformedKeyEntries(t *testing.T) {
	t.Parallel()
	good := `{"kty":"RSA","use":"sig","kid":"k1","e":"AQAB","n":"` + b64(testKeys()[0].N.Bytes()) + `"}`
	bad := func(changes string) string {
		return strings.Replace(strings.Replace(good, `"k1"`, `"bad"`, 1), b64(testKeys()[0].N.Bytes()), b64(testKeys()[1].N.Bytes())+`"`+changes+`,"z":"`, 1)
	}
	for name, doc := range map[string]string{
		"duplicate member":         `{"keys":[` + bad(`,"use":"sig"`) + `,` + good + `]}`,
		"invalid UTF-8":            `{"keys":[` + bad(",\"x\":\"\xff\"") + `,` + good + `]}`,
		"invalid UTF-8 in a name":  `{"keys":[` + bad(",\"\xff\":1") + `,` + good + `]}`,
		"byte order mark":          "\xef\xbb\xbf" + `{"keys":[` + bad(`,"use":"sig"`) + `,` + good + `]}`,
		"members beside the keys":  `{"x":1,"x":2,"y":"` + "\xff" + `","keys":[` + good + `]}`,
		"no object":                `{"keys":[[],1,null,"x",` + good + `]}`,
		"nested":                   `{"keys":[{"kid":{}},` + good + `]}`,
		"modulus that is too long": `{"keys":[` + bad(`,"n":"`+strings.Repeat("A", 4000)+`"`) + `,` + good + `]}`,
	} {
		e := newEntra()
		e.answer = func(*http.Request) (*http.Response, error) { return respond(200, []byte(doc)), nil }
		h := open(t, config(e)).Product("starter")(echo)
		assert.Equal(t, 200, call(h, mint(t, claims(nil))).Code, name)
		assert.Equal(t, 401, call(h, sign(t, testKeys()[1], object{"typ": "JWT", "alg": "RS256", "kid": "bad"}, claims(nil))).Code, name)
	}
}

// The gate asks again when the endpoint says, at most 10 minutes later, and logs
// its callers to wait as long.
func TestRetryAfterOfTheKeyEndpoint(t *testing.T) {
	t.Parallel()
	for after, wait := range map[string]time.Duration{"120": 2 * time.Minute, "86400": 10 * time.Minute, "0": 0, "": 0} {
		for _, status := range []int{429, 503} {
			synctest.Test(t, func(t *testing.T) {
				e := newEntra()
				e.answer = func(*http.Request) (*http.Response, error) {
					r := respond(status, nil)
					r.Header.Set("Retry-After", after)
					return r, nil
				}
				h := open(t, config(e)).Product("starter")(echo)
				synctest.Wait()
				w := call(h, mint(t, claims(nil)))
				assert.Equal(t, 503, w.Code)
				seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
				require.NoError(t, err)
				assert.GreaterOrEqual(t, time.Duration(seconds)*time.Second, wait)
				if wait > 0 {
					time.Sleep(wait - time.Second)
					assert.Equal(t, 1, e.count())
				}
				e.set(func(e *entra) { e.answer = nil })
				time.Sleep(3 * time.Second)
				assert.Equal(t, 200, call(h, mint(t, claims(nil))).Code)
			})
		}
	}
}

// A token with an unknown key ID gets a Retry-After while a fetch may help.
func TestUnknownKeyWhileFetchingFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		g := open(t, config(e))
		h := g.Product("starter")(echo)
		require.NoError(t, g.Ready(t.Context()))
		fresh := mintWith(t, 2, claims(nil))
		assert.Equal(t, 401, call(h, fresh).Code, "a fetch just succeeded without that key")
		e.rotate(2)
		e.set(func(e *entra) { e.answer = down })
		time.Sleep(30 * time.Second)
		for range 3 {
			w := call(h, fresh)
			assert.Equal(t, 503, w.Code)
			assert.NotEmpty(t, w.Header().Get("Retry-After"))
		}
		assert.Equal(t, 200, call(h, mint(t, claims(nil))).Code)
		e.set(func(e *entra) { e.answer = nil })
		time.Sleep(3 * time.Second)
		assert.Equal(t, 200, call(h, fresh).Code)
	})
}

// RFC 7518, section 3.5: the salt is as long as the hash.
func TestPSSSaltLength(t *testing.T) {
	t.Parallel()
	cfg := config(newEntra())
	cfg.Algorithms = []string{"PS256"}
	h := open(t, cfg).Product("starter")(echo)
	for salt, status := range map[int]int{32: 200, rsa.PSSSaltLengthEqualsHash: 200, 1: 401, 31: 401, 33: 401, rsa.PSSSaltLengthAuto: 401} {
		token := sign(t, testKeys()[0], object{"typ": "JWT", "alg": "PS256", "kid": "k1"}, claims(nil))
		signed := token[:strings.LastIndexByte(token, '.')]
		sum := sha256.Sum256([]byte(signed))
		sig, err := rsa.SignPSS(rand.Reader, testKeys()[0], crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: salt})
		require.NoError(t, err)
		assert.Equal(t, status, call(h, signed+"."+b64(sig)).Code, "salt of %d", salt)
	}
}
