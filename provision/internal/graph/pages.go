package graph

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/entragate/entragate/provision"
)

// maxPages bounds a list whose pages never end.
const maxPages = 200

// list reads a list to its end. first is the answer to path. If a page token
// expires, the list is read again from the start, once: half a list would show
// objects as missing.
func list[W, R any](ctx context.Context, c *Client, path string, first answer, convert func(W) (R, error)) ([]R, error) {
	found, err := pages(ctx, c, path, first, convert)
	if !expiredPage(err) {
		return found, err
	}
	return pages(ctx, c, path, c.send(ctx, request{method: http.MethodGet, path: path}), convert)
}

// expiredPage reports whether Graph refused a page token as too old.
func expiredPage(err error) bool {
	var api *provision.APIError
	return errors.As(err, &api) && (api.Code == "Directory_ExpiredPageToken" ||
		strings.Contains(api.Message, "page token value has expired"))
}

func pages[W, R any](ctx context.Context, c *Client, path string, a answer, convert func(W) (R, error)) ([]R, error) {
	found := []R{}
	for range maxPages {
		if a.err != nil {
			return nil, a.err
		}
		var p page[W]
		if err := decode(a.body, itemTokens, &p); err != nil {
			return nil, err
		}
		if p.Value == nil {
			return nil, errors.New("graph: unreadable answer: a list without its value")
		}
		for _, wire := range p.Value {
			item, err := convert(wire)
			if err != nil {
				return nil, err
			}
			found = append(found, item)
		}
		if p.Next == "" {
			return found, nil
		}
		next, err := c.nextPath(path, p.Next)
		if err != nil {
			return nil, err
		}
		a = c.send(ctx, request{method: http.MethodGet, path: next})
	}
	return nil, fmt.Errorf("graph: a list of more than %d pages", maxPages)
}

// keyInParentheses is a key such as ('8a2b…') behind a collection, which Graph
// writes in links where the request had /8a2b….
var keyInParentheses = regexp.MustCompile(`\('([A-Za-z0-9_-]+)'\)`)

// nextPath checks a link to the next page and returns its path below the
// version. The link must stay with the list that was asked for: the same host,
// version and path. Otherwise an answer could send a token elsewhere or mix
// another list into this one.
func (c *Client) nextPath(path, link string) (string, error) {
	u, err := url.Parse(link)
	if err != nil || !c.sameHost(u) || u.Fragment != "" {
		return "", fmt.Errorf("graph: refused to follow a page link to another host than %s", c.cfg.Base())
	}
	asked, _, _ := strings.Cut(path, "?")
	plain := func(p string) string { return keyInParentheses.ReplaceAllString(p, "/$1") }
	if plain(u.EscapedPath()) != plain(Version+asked) {
		return "", errors.New("graph: refused to follow a page link to another version or path than the list's own")
	}
	return asked + "?" + u.RawQuery, nil
}

// listMany reads several lists, each to its end, and the first pages together.
func listMany[W, R any](ctx context.Context, c *Client, n int, path func(i int) (string, error), convert func(W) (R, error)) ([][]R, []error) {
	firsts := c.getMany(ctx, n, path)
	lists, errs := make([][]R, n), make([]error, n)
	for i, first := range firsts {
		p, err := path(i)
		if err != nil {
			errs[i] = err
			continue
		}
		lists[i], errs[i] = list(ctx, c, p, first, convert)
	}
	return lists, errs
}
