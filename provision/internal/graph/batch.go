package graph

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/errgroup"
)

// batchSize is the most requests that one $batch takes:
// https://learn.microsoft.com/graph/json-batching
const batchSize = 20

// getMany reads many paths, in the order asked: one alone with a plain request,
// more with $batch requests. path returns the i-th path.
func (c *Client) getMany(ctx context.Context, n int, path func(i int) (string, error)) []answer {
	answers := make([]answer, n)
	paths := make([]string, n)
	var valid []int
	for i := range n {
		if paths[i], answers[i].err = path(i); answers[i].err == nil {
			valid = append(valid, i)
		}
	}
	if len(valid) == 1 {
		answers[valid[0]] = c.send(ctx, request{method: http.MethodGet, path: paths[valid[0]]})
		return answers
	}
	var group errgroup.Group
	group.SetLimit(c.cfg.Parallel)
	for chunk := range slices.Chunk(valid, batchSize) {
		group.Go(func() error {
			c.batch(ctx, chunk, paths, answers)
			return nil
		})
	}
	_ = group.Wait() // the functions return no error
	return answers
}

// batch reads the paths of one chunk and fills in their answers.
func (c *Client) batch(ctx context.Context, chunk []int, paths []string, answers []answer) {
	type item struct {
		ID     string `json:"id"`
		Method string `json:"method"`
		URL    string `json:"url"`
	}
	var body struct {
		Requests []item `json:"requests"`
	}
	for _, i := range chunk {
		body.Requests = append(body.Requests, item{strconv.Itoa(i), http.MethodGet, paths[i]})
	}
	reply := c.send(ctx, request{method: http.MethodPost, path: "/$batch", body: body})
	var found map[string]answer
	err := reply.err
	if err == nil {
		found, err = c.openBatch(reply.body)
	}
	for _, i := range chunk {
		a, ok := found[strconv.Itoa(i)]
		switch {
		case err != nil:
			a = answer{err: err}
		case !ok:
			a = answer{err: errors.New("graph: the $batch response has no answer for the request")}
		}
		answers[i] = a
	}
}

// openBatch reads the answers of a $batch by their IDs.
func (c *Client) openBatch(body []byte) (map[string]answer, error) {
	var reply struct {
		Responses items[struct {
			ID      string         `json:"id"`
			Status  int            `json:"status"`
			Headers map[string]any `json:"headers"`
			Body    jsontext.Value `json:"body"`
		}] `json:"responses"`
	}
	if err := decode(body, batchTokens, &reply); err != nil {
		return nil, err
	}
	found := make(map[string]answer, len(reply.Responses))
	for _, r := range reply.Responses {
		header := make(http.Header, len(r.Headers))
		for name, value := range r.Headers {
			header.Set(name, fmt.Sprint(value))
		}
		a := answer{status: r.Status, body: r.Body}
		if r.Status/100 != 2 {
			a = answer{status: r.Status, err: apiError(r.Status, header, r.Body, c.cfg.Now())}
		}
		found[r.ID] = a
	}
	return found, nil
}
