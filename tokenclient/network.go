package tokenclient

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// connect makes the http.Client for the token endpoint and the transport for API calls.
func (c *Client) connect(cfg Config) error {
	c.base = http.DefaultTransport
	client := http.Client{}
	shared, replaceable := http.DefaultTransport.(*http.Transport) // a program may have replaced it
	switch {
	case cfg.HTTPClient != nil && (cfg.CAFile != "" || cfg.ProxyURL != ""):
		return errors.New("HTTPClient: cannot be combined with CAFile and ProxyURL: configure them in its Transport")
	case cfg.HTTPClient != nil:
		client = *cfg.HTTPClient
		if client.Transport != nil {
			c.base = client.Transport
		}
	case replaceable || cfg.CAFile != "" || cfg.ProxyURL != "":
		if !replaceable {
			shared = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
		}
		own := shared.Clone()
		if err := trust(own, cfg.CAFile); err != nil {
			return inField("CAFile", err)
		}
		if err := proxyBy(own, cfg.ProxyURL); err != nil {
			return inField("ProxyURL", err)
		}
		if cfg.CAFile != "" || cfg.ProxyURL != "" {
			c.ownBase = own.Clone()
			c.base = c.ownBase
		}
		own.MaxResponseHeaderBytes = 64 << 10
		client.Transport = own
	}
	client.Jar = nil
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &client
	return nil
}

// trust adds the certificate authorities of a PEM file to those that t trusts.
func trust(t *http.Transport, file string) error {
	if file == "" {
		return nil
	}
	text, err := readFile(file)
	if err != nil {
		return err
	}
	certs, err := parseCertificates([]byte(text))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{}
	}
	t.TLSClientConfig.RootCAs = pool
	return nil
}

// proxyBy makes t use a proxy for every host.
func proxyBy(t *http.Transport, address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" {
		return errors.New("must be http://host:port, https://host:port or socks5://host:port") // not shown: it may hold a password
	}
	t.Proxy = http.ProxyURL(u)
	return nil
}
