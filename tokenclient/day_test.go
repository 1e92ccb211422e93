package tokenclient_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/tokenclient"
)

// A day with the machine's own clock, a call each second, and an outage of ten
// minutes in every hour: nobody notices, and the endpoint is left in peace.
func TestADayWithOutages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start, requests := time.Now(), 0
		c, err := tokenclient.New(tokenclient.Config{
			TenantID: tenant, ClientID: clientID, Credential: tokenclient.Secret(password),
			HTTPClient: &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				requests++
				time.Sleep(300 * time.Millisecond)
				if minute := time.Since(start) % time.Hour / time.Minute; minute >= 40 && minute < 50 {
					return &http.Response{StatusCode: 503, Body: http.NoBody}, nil
				}
				body := `{"token_type":"Bearer","access_token":"t","expires_in":3600}`
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body))}, nil
			})},
		})
		require.NoError(t, err)
		s := c.Source(scope)
		mustToken(t, s)
		for range 24 * 60 * 60 {
			time.Sleep(time.Second)
			began := time.Now()
			token, err := s.Token(t.Context())
			require.NoError(t, err)
			require.Zero(t, time.Since(began), "nobody waits")
			require.Greater(t, time.Until(token.Expires()), 9*time.Second)
		}
		require.NoError(t, c.Close())
		assert.Greater(t, requests, 30)
		assert.Less(t, requests, 24*70)
	})
}

// Brief trouble at a cold start, waited out with the machine's own timer: no
// longer than the two pauses and the requests take.
func TestColdStartWithTheOwnTimer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		c, err := tokenclient.New(tokenclient.Config{
			TenantID: tenant, ClientID: clientID, Credential: tokenclient.Secret(password),
			HTTPClient: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				if requests++; requests < 3 {
					return &http.Response{StatusCode: 503, Body: http.NoBody}, nil
				}
				body := `{"token_type":"Bearer","access_token":"t","expires_in":3600}`
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body))}, nil
			})},
		})
		require.NoError(t, err)
		began := time.Now()
		_, err = c.Source(scope).Token(t.Context())
		require.NoError(t, err)
		assert.GreaterOrEqual(t, time.Since(began), 750*time.Millisecond)
		assert.LessOrEqual(t, time.Since(began), 1500*time.Millisecond)
		require.NoError(t, c.Close())
	})
}
