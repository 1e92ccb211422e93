package appaccess_test

import (
	"hash/crc32"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

func TestSubscriptionKeys(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	made, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: "sub", Name: "S", Scope: appaccess.AllAPIs})
	require.NoError(t, err)
	primary, secondary := made.Primary.Reveal(), made.Secondary.Reveal()
	assert.NotEqual(t, primary, secondary)
	pattern := regexp.MustCompile(appaccess.KeyPattern)
	for _, key := range []string{primary, secondary} {
		assert.True(t, appaccess.CheckKeyFormat(key))
		assert.Equal(t, key, pattern.FindString(`header: "`+key+`"`), "a scanner finds it")
	}
	assert.Equal(t, appaccess.HashKey(primary), made.Subscription.PrimaryHash)

	again, err := h.RegenerateKey(ctx, boss, "sub", appaccess.PrimaryKey)
	require.NoError(t, err)
	v, err := h.Subscription(ctx, boss, "sub")
	require.NoError(t, err)
	assert.Equal(t, appaccess.HashKey(again.Reveal()), v.PrimaryHash)
	assert.Equal(t, made.Subscription.SecondaryHash, v.SecondaryHash, "one at a time")
	_, err = h.RegenerateKey(ctx, boss, "sub", "tertiary")
	assertInvalid(t, err, "key")
}

func TestCheckKeyFormat(t *testing.T) {
	t.Parallel()
	good := sampleKey(strings.Repeat("7", 43))
	require.True(t, appaccess.CheckKeyFormat(good))
	for name, bad := range map[string]string{
		"empty": "", "prefix only": "egk_", "shorter": good[:len(good)-1], "longer": good + "7", "other prefix": "Egk_" + good[4:],
		"other case": strings.ToUpper(good[:4]) + good[4:], "space": " " + good[:len(good)-1], "newline": good[:len(good)-1] + "\n",
		"a digit changed": good[:10] + "8" + good[11:], "the checksum changed": good[:len(good)-1] + string(good[len(good)-1]^1),
		"no base 62": good[:20] + "-" + good[21:], "NUL": good[:20] + "\x00" + good[21:],
	} {
		assert.False(t, appaccess.CheckKeyFormat(bad), name)
	}
}

// sampleKey is a second implementation of the format, after its description.
func sampleKey(random string) string {
	key := "egk_" + random
	n, digits := crc32.ChecksumIEEE([]byte(key)), ""
	for range 6 {
		digits = string("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[n%62]) + digits
		n /= 62
	}
	return key + digits
}

// Whatever passes is the one key that its random part gives.
func FuzzCheckKeyFormat(f *testing.F) {
	good := sampleKey(strings.Repeat("aZ0", 14) + "x")
	for _, seed := range []string{"", good, good[:52], good + "x", "egk_" + strings.Repeat("\xff", 49)} {
		f.Add(seed)
	}
	whole := regexp.MustCompile(`^egk_[0-9A-Za-z]{49}$`)
	f.Fuzz(func(t *testing.T, key string) {
		want := len(key) == 53 && whole.MatchString(key) && sampleKey(key[4:47]) == key
		if got := appaccess.CheckKeyFormat(key); got != want {
			t.Fatalf("%q: %t", key, got)
		}
	})
}

func BenchmarkCheckKeyFormat(b *testing.B) {
	good := sampleKey(strings.Repeat("aZ0", 14) + "x")
	b.ReportAllocs()
	for b.Loop() {
		if !appaccess.CheckKeyFormat(good) {
			b.Fatal("refused")
		}
	}
}
