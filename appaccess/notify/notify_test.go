package notify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/notify"
	"github.com/entragate/entragate/appaccess/sqlite"
)

var (
	root   = appaccess.Manager("grace")
	key    = []byte(strings.Repeat("k", 32))
	secret = appaccess.NewSecret("whsec_" + base64.StdEncoding.EncodeToString(key))
)

// world is a service with a clock that a test moves.
type world struct {
	t       *testing.T
	store   appaccess.Store
	service *appaccess.Service
	mu      sync.Mutex
	at      time.Time
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, at: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	w.store = store
	w.service, err = appaccess.NewService(t.Context(), appaccess.ServiceConfig{Store: store, Now: w.now})
	require.NoError(t, err)
	_, err = w.service.CreateUser(t.Context(), root, appaccess.UserRequest{ID: "ada", Name: "Ada"})
	require.NoError(t, err)
	return w
}

func (w *world) notifier(cfg notify.Config) *notify.Notifier {
	w.t.Helper()
	cfg.Store, cfg.Now = w.store, w.now
	n, err := notify.New(cfg)
	require.NoError(w.t, err)
	require.NoError(w.t, n.Turn(w.t.Context()))
	return n
}

// request asks for a subscription as a developer.
func (w *world) request(name string) (id string) {
	w.t.Helper()
	r, err := w.service.RequestSubscription(w.t.Context(), appaccess.Developer("ada"), "starter", "Reports "+name, "")
	require.NoError(w.t, err)
	return r.ID
}

// What happened reaches the hook, once and in order, also if the process was
// replaced in between; what happened before the first start does not.
func TestEventsReachTheHook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.request("before")
	var got []string
	hook := func(_ context.Context, e notify.Event) error {
		got = append(got, strings.TrimPrefix(e.Type, "com.entragate.")+" "+e.Name)
		return nil
	}
	n := w.notifier(notify.Config{Hook: hook})
	approved, err := w.service.ApproveRequest(t.Context(), root, w.request("s1"), appaccess.Approval{})
	require.NoError(t, err)
	require.NoError(t, n.Turn(t.Context()))
	_, err = w.service.SetSubscriptionState(t.Context(), root, approved.Result, appaccess.SubscriptionSuspended)
	require.NoError(t, err)
	_, err = w.service.BlockUser(t.Context(), root, "ada")
	require.NoError(t, err)
	n = w.notifier(notify.Config{Hook: hook})
	require.NoError(t, n.Turn(t.Context()))
	assert.Equal(t, []string{
		"request.made Reports s1", "request.approved Reports s1", "access.suspended Reports s1", "access.suspended Ada",
	}, got)
}

// A receiver that fails is asked again, with growing pauses; a manager can
// send a delivery again that was given up.
func TestFailedDeliveriesAreTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	calls, broken := 0, true
	n := w.notifier(notify.Config{Hook: func(context.Context, notify.Event) error {
		calls++
		if broken {
			return errors.New("no mail today")
		}
		return nil
	}})
	w.request("s1")
	require.NoError(t, n.Turn(t.Context()))
	require.NoError(t, n.Turn(t.Context()))
	assert.Equal(t, 1, calls, "not before the pause is over")
	w.advance(5 * time.Second)
	require.NoError(t, n.Turn(t.Context()))
	assert.Equal(t, 2, calls)
	for range 20 {
		w.advance(24 * time.Hour)
		require.NoError(t, n.Turn(t.Context()))
	}
	assert.Equal(t, 10, calls, "given up after three days of attempts")
	page, err := n.List(t.Context(), "", 10)
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	assert.True(t, page.Items[0].Deliveries[0].Failed())
	assert.Equal(t, "no mail today", page.Items[0].Deliveries[0].Error)

	broken = false
	require.NoError(t, n.Redeliver(t.Context(), page.Items[0].Event.ID))
	require.NoError(t, n.Turn(t.Context()))
	assert.Equal(t, 11, calls)
	page, err = n.List(t.Context(), "", 10)
	require.NoError(t, err)
	assert.False(t, page.Items[0].Deliveries[0].Delivered.IsZero())
	assert.ErrorIs(t, n.Redeliver(t.Context(), "none"), appaccess.ErrNotFound)
	assert.ErrorIs(t, n.Redeliver(t.Context(), "~cursor"), appaccess.ErrNotFound)
}

// Replicas share the work: each event is sent once.
func TestReplicasShareTheOutbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	sent := map[string]int{}
	hook := func(_ context.Context, e notify.Event) error {
		mu.Lock()
		defer mu.Unlock()
		sent[e.Object]++
		return nil
	}
	all := []*notify.Notifier{w.notifier(notify.Config{Hook: hook}), w.notifier(notify.Config{Hook: hook}), w.notifier(notify.Config{Hook: hook})}
	once := map[string]int{}
	for _, name := range []string{"s1", "s2", "s3", "s4", "s5"} {
		once[w.request(name)] = 1
	}
	var wait sync.WaitGroup
	for _, n := range all {
		wait.Go(func() { assert.NoError(t, n.Turn(t.Context())) })
	}
	wait.Wait()
	assert.Equal(t, once, sent)
}

// A credential that will end is reported 30, 7 and 1 days before, once each, and an
// object that is not in sync for an hour once in 30 days.
func TestWhatOnlyTimeBrings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	put := func(kind appaccess.Kind, id string, v any) {
		body, err := json.Marshal(v)
		require.NoError(t, err)
		_, err = w.store.Update(t.Context(), func(wr appaccess.Writer) error { return wr.Put(appaccess.Record{Kind: kind, ID: id, Body: body}) })
		require.NoError(t, err)
	}
	put(appaccess.KindApplication, "a1", appaccess.ClientApplication{ID: "a1", Name: "Shop", OwnerID: "ada", Updated: w.now(), Sync: appaccess.Sync{Pending: true, Error: "denied"}})
	put(appaccess.KindCredential, "c1", appaccess.Credential{ID: "c1", ApplicationID: "a1", Kind: appaccess.SecretCredential, Name: "production", End: w.now().Add(40 * 24 * time.Hour)})
	put(appaccess.KindCredential, "c2", appaccess.Credential{ID: "c2", ApplicationID: "a1", Kind: appaccess.SecretCredential, End: w.now().Add(24 * time.Hour), RemoveAfter: w.now().Add(time.Hour)})
	var got []string
	n := w.notifier(notify.Config{Hook: func(_ context.Context, e notify.Event) error {
		got = append(got, strings.TrimPrefix(e.Type, "com.entragate.")+" "+e.Name+" "+e.Details["days"]+e.Details["error"])
		assert.Equal(t, "ada", e.Owner)
		return nil
	}})
	assert.Empty(t, got)
	for range 45 * 8 {
		w.advance(3 * time.Hour)
		require.NoError(t, n.Turn(t.Context()))
	}
	assert.Equal(t, []string{"entra.outofsync Shop denied", "credential.ending Shop 30", "entra.outofsync Shop denied", "credential.ending Shop 7", "credential.ending Shop 1"}, got)
}

// A webhook gets a CloudEvent that is signed as Standard Webhooks describes.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	var got []map[string]any
	var signatures []bool
	status := http.StatusNoContent
	receiver := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(r.Header.Get("webhook-id") + "." + r.Header.Get("webhook-timestamp") + "." + string(body)))
		mu.Lock()
		defer mu.Unlock()
		signatures = append(signatures, r.Header.Get("webhook-signature") == "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		var event map[string]any
		_ = json.Unmarshal(body, &event)
		event["content-type"], event["webhook-id"] = r.Header.Get("Content-Type"), r.Header.Get("webhook-id")
		got = append(got, event)
		if status/100 == 3 {
			rw.Header().Set("Location", "/elsewhere")
		}
		rw.WriteHeader(status)
	}))
	t.Cleanup(receiver.Close)
	n := w.notifier(notify.Config{Source: "https://apis.contoso.example", Webhooks: []notify.Webhook{{URL: receiver.URL + "/hook?token=t0ken", Secret: secret, AllowPrivate: true}}})
	s1 := w.request("s1")
	require.NoError(t, n.Turn(t.Context()))
	require.Len(t, got, 1)
	assert.Equal(t, []bool{true}, signatures)
	for name, value := range map[string]any{
		"specversion": "1.0", "type": notify.RequestMade, "source": "https://apis.contoso.example", "subject": "request/" + s1,
		"content-type": "application/cloudevents+json", "datacontenttype": "application/json",
	} {
		assert.Equal(t, value, got[0][name], name)
	}
	assert.Equal(t, got[0]["id"], got[0]["webhook-id"])

	// A redirect is an answer that failed, and is not followed.
	mu.Lock()
	status = http.StatusFound
	mu.Unlock()
	w.request("s2")
	require.NoError(t, n.Turn(t.Context()))
	assert.Len(t, got, 2)
	page, err := n.List(t.Context(), "", 10)
	require.NoError(t, err)
	assert.Equal(t, "the receiver answered 302", page.Items[0].Deliveries[0].Error)
	shown, _ := json.Marshal(page)
	assert.NotContains(t, string(shown), "t0ken", "what is in the address's query is not shown")
	assert.NotContains(t, string(shown), base64.StdEncoding.EncodeToString(key))
}

// Private addresses are refused when dialling, whatever name leads to them.
func TestWebhooksDoNotReachPrivateNetworks(t *testing.T) {
	t.Parallel()
	reached := false
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	t.Cleanup(receiver.Close)
	w := newWorld(t)
	port := receiver.URL[strings.LastIndex(receiver.URL, ":"):]
	var hooks []notify.Webhook
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "[fd00::1]", "[64:ff9b::7f00:1]"} {
		hooks = append(hooks, notify.Webhook{URL: "https://" + host + port, Secret: secret})
	}
	n := w.notifier(notify.Config{Webhooks: hooks})
	w.request("s1")
	require.NoError(t, n.Turn(t.Context()))
	page, err := n.List(t.Context(), "", 10)
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	require.Len(t, page.Items[0].Deliveries, len(hooks))
	for _, d := range page.Items[0].Deliveries {
		assert.Contains(t, d.Error, "private network", d.Target)
	}
	assert.False(t, reached)
}

func TestConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := notify.Webhook{URL: "https://hooks.example/x", Secret: secret}
	for field, change := range map[string]func(*notify.Webhook){
		"URL":    func(h *notify.Webhook) { h.URL = "http://hooks.example/x" },
		"URL:":   func(h *notify.Webhook) { h.URL = "/x" },
		"URL: ":  func(h *notify.Webhook) { h.URL = "https://u:p@hooks.example/" },
		"Secret": func(h *notify.Webhook) { h.Secret = appaccess.NewSecret("short") },
	} {
		bad := good
		change(&bad)
		_, err := notify.New(notify.Config{Store: w.store, Webhooks: []notify.Webhook{good, bad}})
		assert.ErrorContains(t, err, "Webhooks[1]."+strings.TrimRight(field, ": "), field)
	}
	for _, cfg := range []notify.Config{{}, {Store: w.store}, {Store: w.store, Webhooks: slices.Repeat([]notify.Webhook{good}, 2)}} {
		_, err := notify.New(cfg)
		assert.Error(t, err)
	}
}
