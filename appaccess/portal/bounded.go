package portal

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// maxEntraBody is the most of an answer of Entra that is read.
const maxEntraBody = 1 << 20

// boundedClient reads at most maxEntraBody of an answer and follows no
// redirect.
func boundedClient(from *http.Client) *http.Client {
	c := &http.Client{Timeout: 15 * time.Second}
	var base http.RoundTripper = http.DefaultTransport
	if from != nil {
		if from.Transport != nil {
			base = from.Transport
		}
		if from.Timeout > 0 {
			c.Timeout = from.Timeout
		}
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Transport = boundedTransport{base}
	return c
}

type boundedTransport struct{ base http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxEntraBody}
	return resp, nil
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("portal: the answer has more than 1 MiB")
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
