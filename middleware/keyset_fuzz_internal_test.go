package middleware

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"
)

// fuzzKey is a key that parseKeySet accepts. Nobody signs with it.
func fuzzKey(kid string) string {
	n := new(big.Int).Lsh(big.NewInt(1), 2047)
	n.SetBit(n, 0, 1)
	return `{"kty":"RSA","use":"sig","kid":"` + kid + `","e":"AQAB","n":"` + base64.RawURLEncoding.EncodeToString(n.Bytes()) + `"}`
}

// FuzzKeySet reads key sets that begin with some entry and go on with a genuine
// key. A set never has more keys than entries, or one that is unfit; a bad entry
// costs no other one its place; and what is remembered of a set is the same set.
func FuzzKeySet(f *testing.F) {
	good := fuzzKey("good")
	for _, entry := range []string{
		good, fuzzKey("other"), strings.Replace(good, "AQAB", "AQAD", 1), `{"kty":"oct","kid":"x","k":"c2VjcmV0"}`,
		`{}`, `null`, `[]`, `"x"`, `{"kid":"a","kid":"b"}`, "{\"kid\":\"\xff\"}", `{"kid":"good","kty":"RSA"}`, `{"n":{"n":[1e400]}}`,
	} {
		f.Add([]byte(entry))
	}
	now := time.Unix(1_700_000_000, 0)
	f.Fuzz(func(t *testing.T, entry []byte) {
		for _, body := range []string{string(entry), `{"keys":[` + string(entry) + `]}`, `{"keys":[` + string(entry) + `,` + good + `]}`} {
			set, err := parseKeySet([]byte(body), nil, now)
			if err != nil {
				continue
			}
			entries, err := keyEntries([]byte(body))
			if err != nil || len(set.keys) == 0 || len(set.keys) > len(entries) {
				t.Fatalf("%d keys of %d entries: %v", len(set.keys), len(entries), err)
			}
			for kid, k := range set.keys {
				if !validKeyID(kid) || k.public.N.BitLen() < 2048 || k.public.N.BitLen() > maxKeyBits || k.public.E < 65537 {
					t.Fatalf("key %q is unfit", kid)
				}
			}
			doc, err := set.answer()
			if err != nil {
				t.Fatal(err)
			}
			again, err := parseKeySet(doc, set, now)
			if err != nil || !sameKeys(again, set) {
				t.Fatalf("what is remembered is not the same set: %v", err)
			}
		}
		if !json.Valid(entry) || strings.Contains(string(entry), "good") || strings.Contains(string(entry), `\u`) {
			return // it may end the array, or name the genuine key
		}
		set, err := parseKeySet([]byte(`{"keys":[`+string(entry)+`,`+good+`]}`), nil, now)
		if err != nil || set.keys["good"] == nil {
			t.Fatalf("one entry costs another its place: %v", err)
		}
	})
}
