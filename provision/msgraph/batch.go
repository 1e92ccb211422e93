package msgraph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	abstractions "github.com/microsoft/kiota-abstractions-go"
	"golang.org/x/sync/errgroup"
)

// Reads of many items go through $batch:
// https://learn.microsoft.com/graph/json-batching
const (
	batchSize     = 20 // Graph's limit
	batchInFlight = 4
)

// answer is what one of many reads gave.
type answer struct {
	body []byte
	err  error
}

// get reads n things, in the order asked. request makes the i-th request. A
// single one is sent as it is.
func (d *Directory) get(ctx context.Context, n int, request func(i int) (*abstractions.RequestInformation, error)) []answer {
	answers := make([]answer, n)
	infos := make([]*abstractions.RequestInformation, n)
	var valid []int
	for i := range n {
		if infos[i], answers[i].err = request(i); answers[i].err == nil {
			valid = append(valid, i)
		}
	}
	if len(valid) == 1 {
		a := &answers[valid[0]]
		a.body, a.err = d.send(ctx, infos[valid[0]])
		return answers
	}
	var group errgroup.Group
	group.SetLimit(batchInFlight)
	for chunk := range slices.Chunk(valid, batchSize) {
		group.Go(func() error {
			d.batch(ctx, chunk, infos, answers)
			return nil
		})
	}
	_ = group.Wait()
	return answers
}

// batch sends the requests of one chunk and fills in their answers.
func (d *Directory) batch(ctx context.Context, chunk []int, infos []*abstractions.RequestInformation, answers []answer) {
	body, err := d.envelope(chunk, infos)
	if err == nil {
		body, err = d.post(ctx, "/$batch", body)
	}
	var got map[string]answer
	if err == nil {
		got, err = openEnvelope(body)
	}
	for _, i := range chunk {
		if err != nil {
			answers[i].err = err
			continue
		}
		a, ok := got[strconv.Itoa(i)]
		if !ok {
			a.err = errors.New("msgraph: $batch did not answer the request")
		}
		answers[i] = a
	}
}

type batchRequest struct {
	ID     string `json:"id"`
	Method string `json:"method"`
	URL    string `json:"url"`
}

// envelope is the body of a $batch of reads. Addresses in it are relative to
// the version.
func (d *Directory) envelope(chunk []int, infos []*abstractions.RequestInformation) ([]byte, error) {
	requests := make([]batchRequest, 0, len(chunk))
	for _, i := range chunk {
		uri, err := infos[i].GetUri()
		if err != nil {
			return nil, fmt.Errorf("msgraph: %w", err)
		}
		path, ok := strings.CutPrefix(uri.String(), d.base)
		if !ok {
			return nil, fmt.Errorf("msgraph: %s is not below %s", uri, d.base)
		}
		requests = append(requests, batchRequest{strconv.Itoa(i), infos[i].Method.String(), strings.ReplaceAll(path, "%24", "$")})
	}
	return json.Marshal(map[string]any{"requests": requests})
}

// openEnvelope reads the answers of a $batch by their ids.
func openEnvelope(body []byte) (map[string]answer, error) {
	var reply struct {
		Responses []struct {
			ID      string          `json:"id"`
			Status  int             `json:"status"`
			Headers map[string]any  `json:"headers"`
			Body    json.RawMessage `json:"body"`
		} `json:"responses"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return nil, fmt.Errorf("msgraph: unreadable $batch: %w", err)
	}
	got := make(map[string]answer, len(reply.Responses))
	for _, r := range reply.Responses {
		header := make(http.Header, len(r.Headers))
		for name, value := range r.Headers {
			header.Set(name, fmt.Sprint(value))
		}
		a := answer{body: r.Body}
		if r.Status/100 != 2 {
			a = answer{err: apiError(r.Status, header, r.Body)}
		}
		got[r.ID] = a
	}
	return got, nil
}

// post sends JSON that the SDK has no model for.
func (d *Directory) post(ctx context.Context, path string, body []byte) ([]byte, error) {
	info := d.request(abstractions.POST, path)
	if body != nil {
		info.SetStreamContentAndContentType(body, "application/json")
	}
	return d.send(ctx, info)
}

// request makes a request by hand, for what lies outside the subpackages that
// are compiled. path is below the version and already escaped.
func (d *Directory) request(method abstractions.HttpMethod, path string) *abstractions.RequestInformation {
	info := abstractions.NewRequestInformationWithMethodAndUrlTemplateAndPathParameters(method, "{+baseurl}", map[string]string{"request-raw-url": d.base + path})
	info.Headers.TryAdd("Accept", "application/json")
	return info
}
