package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// Webhook is an address that gets events.
type Webhook struct {
	// URL is absolute and https; http only for a loopback address with
	// AllowPrivate.
	URL string
	// Secret signs the requests: 24 to 64 random bytes in base64, with or without
	// the prefix whsec_.
	Secret appaccess.Secret
	// AllowPrivate lets the address lead to loopback, private and link-local
	// networks. Without it such an address is refused when dialling, whatever its
	// name says.
	AllowPrivate bool
	// Transport replaces the way in which requests are sent, its checks of
	// addresses included. Nil: HTTP with those checks and without a proxy.
	Transport http.RoundTripper
}

// errPrivate is why a connection was refused.
var errPrivate = errors.New("the address is in a private network")

// privateNetworks are those that netip does not call private, loopback or
// link-local and that lead to no public host either.
var privateNetworks = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("fec0::/10"),
}

// public reports whether an address is one of the public internet.
func public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
		return false
	}
	for _, p := range privateNetworks {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// guard checks the address after the name was resolved, so that the checked address is
// the dialled one.
func guard(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !public(at.Addr()) {
		return errPrivate
	}
	return nil
}

// webhook checks a webhook and makes what sends to it.
func (n *Notifier) webhook(w Webhook) (send func(context.Context, Event) error, name string, err error) {
	u, err := url.Parse(w.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, "", errors.New("URL: must be an absolute URL without user info and fragment")
	}
	ip := net.ParseIP(u.Hostname())
	local := w.AllowPrivate && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
	if u.Scheme != "https" && !(u.Scheme == "http" && local) {
		return nil, "", errors.New("URL: must be https, or http to a loopback address with AllowPrivate")
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(w.Secret.Reveal(), "whsec_"))
	if err != nil || len(key) < 24 || len(key) > 64 {
		return nil, "", errors.New("Secret: must be 24 to 64 bytes in base64, such as whsec_...")
	}
	client := &http.Client{
		Timeout:       deliveryTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     w.Transport,
	}
	if client.Transport == nil {
		dialer := &net.Dialer{Timeout: 5 * time.Second}
		if !w.AllowPrivate {
			dialer.Control = guard
		}
		client.Transport = &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute}
	}
	// The query may hold a token of the receiver's.
	name = u.Scheme + "://" + u.Host + u.Path
	return func(ctx context.Context, e Event) error { return n.post(ctx, client, u.String(), key, e) }, name, nil
}

func (n *Notifier) post(ctx context.Context, client *http.Client, to string, key []byte, e Event) error {
	body, err := json.Marshal(cloudEvent{
		SpecVersion: "1.0", ID: e.ID, Source: n.source, Type: e.Type, Subject: string(e.Kind) + "/" + e.Object,
		Time: e.Time, DataContentType: "application/json", Data: e,
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return errors.New("the address is not valid")
	}
	at := strconv.FormatInt(n.now().Unix(), 10)
	req.Header.Set("Content-Type", "application/cloudevents+json")
	req.Header.Set("User-Agent", "entragate")
	req.Header.Set("webhook-id", e.ID)
	req.Header.Set("webhook-timestamp", at)
	req.Header.Set("webhook-signature", sign(key, e.ID, at, body))
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the address, whose query may hold a token
		}
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the receiver answered %d", resp.StatusCode)
	}
	return nil
}

// sign is the header webhook-signature of Standard Webhooks 1.0.
func sign(key []byte, id, at string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + at + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
