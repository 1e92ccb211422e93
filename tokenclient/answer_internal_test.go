package tokenclient

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Replicas that start together do not refresh together: each draws its own
// moment, never before a refresh_in.
func TestRefreshIsSpread(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in       seconds
		from, to time.Duration
	}{
		{seconds{}, 36 * time.Minute, 45 * time.Minute},
		{seconds{d: 30 * time.Minute, known: true}, 30 * time.Minute, 33 * time.Minute},
	} {
		var early, late int
		for range 1000 {
			d := refreshAt(time.Hour, tt.in)
			assert.GreaterOrEqual(t, d, tt.from)
			assert.Less(t, d, tt.to)
			if d < (tt.from+tt.to)/2 {
				early++
			} else {
				late++
			}
		}
		assert.Greater(t, min(early, late), 100)
	}
}

// Whatever a token endpoint sends, the outcome is either a token that a header
// can carry, with sane times, or an error on one line without the secret.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		`{"access_token":"t","token_type":"Bearer","expires_in":3599,"refresh_in":"1800"}`,
		`{"access_token":"t","token_type":"bearer","expires_in":1e300}`,
		`{"access_token":"t","token_type":"bearer","expires_in":-1}`,
		`{"access_token":"t","token_type":"bearer","expires_in":1e-9}`,
		`{"error":"invalid_client","error_description":"AADSTS7000215: hush-hush","error_codes":[7000215]}`,
		`{"error_description":"AADSTS99999999999999999999"}`, `[]`, `null`, ``, "\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		now := time.Unix(1e9, 0)
		snap, err := accept("scope", "id", now, body, redactor{"hush-hush"})
		if err != nil {
			assert.Nil(t, snap)
			assert.NotContains(t, err.Error(), "hush-hush")
			assert.NotContains(t, err.Error(), "\n")
			assert.Less(t, len(err.Error()), 4*maxDescription)
			return
		}
		assert.NoError(t, checkPrintable("token", snap.token.Reveal()))
		assert.Positive(t, snap.life)
		assert.LessOrEqual(t, snap.life, maxLife)
		assert.Positive(t, snap.refresh)
		assert.Less(t, snap.refresh, snap.life)
		assert.Equal(t, now.Add(snap.life), snap.token.Expires())
	})
}
