package entratest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

type batchItem struct {
	ID        string            `json:"id"`
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers,omitempty"`
	Body      json.RawMessage   `json:"body,omitempty"`
	DependsOn []string          `json:"dependsOn,omitempty"`
}

type batchAnswer struct {
	ID      string            `json:"id"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    any               `json:"body,omitempty"`
}

// batch answers $batch. Items run one after the other, each on a replica and
// with a fault of its own; their answers come in any order. It reports true if
// an item's fault cut the connection.
func (c *graphCall) batch() (graphReply, *graphError, bool) {
	items, failed := c.batchItems()
	if failed != nil {
		return graphReply{}, failed, false
	}
	var answers []batchAnswer
	status := map[string]int{}
	for _, it := range items {
		a, cut := c.item(it, status)
		if cut {
			return graphReply{}, nil, true
		}
		status[it.ID] = a.Status
		answers = append(answers, a)
	}
	c.t.rng.Shuffle(len(answers), func(i, j int) { answers[i], answers[j] = answers[j], answers[i] })
	return graphReply{status: http.StatusOK, body: map[string]any{"responses": answers}}, nil, false
}

func (c *graphCall) batchItems() ([]batchItem, *graphError) {
	var in struct {
		Requests []batchItem `json:"requests"`
	}
	if c.method != http.MethodPost {
		return nil, refuse(http.StatusMethodNotAllowed, "BadRequest", "$batch takes POST.")
	}
	if failed := c.decode(&in); failed != nil {
		return nil, failed
	}
	badBatch := func(text string) ([]batchItem, *graphError) {
		c.t.misuse("$batch: %s", text)
		return nil, refuse(http.StatusBadRequest, "BadRequest", "Invalid batch payload format: %s", text)
	}
	if len(in.Requests) == 0 {
		return badBatch("it has no requests")
	}
	if len(in.Requests) > 20 {
		return badBatch("number of batch request steps exceeds the maximum value of 20")
	}
	seen := map[string]bool{}
	for _, it := range in.Requests {
		for _, d := range it.DependsOn {
			if !seen[d] {
				return badBatch("dependsOn names a request that does not come before")
			}
		}
		if it.ID == "" || seen[it.ID] {
			return badBatch("request ids must be there and unique")
		}
		seen[it.ID] = true
		if it.Method == "" || it.URL == "" || strings.Contains(it.URL, "://") {
			return badBatch("each request needs a method and a relative url")
		}
	}
	return in.Requests, nil
}

func (c *graphCall) item(it batchItem, status map[string]int) (answer batchAnswer, cut bool) {
	answer = batchAnswer{ID: it.ID, Headers: map[string]string{}}
	for _, d := range it.DependsOn {
		if status[d] >= 400 {
			failed := refuse(http.StatusFailedDependency, "FailedDependency", "The request '%s' that this one depends on failed.", d)
			answer.Status, answer.Body = failed.status, failed.reply(c.t, c.header).body
			return answer, false
		}
	}
	sub, failed := c.subcall(it)
	req := Request{Service: GraphService, Method: it.Method, Path: "/v1.0/" + strings.TrimPrefix(it.URL, "/"),
		AppID: c.caller.appID, Item: true, Write: it.Method != http.MethodGet}
	reply, cut := c.t.operate(req, c.header, func() (graphReply, *graphError, bool) {
		if failed != nil {
			return graphReply{}, failed, false
		}
		reply, e := sub.run()
		return reply, e, false
	})
	if cut {
		return answer, true
	}
	answer.Status, answer.Body = reply.status, reply.body
	for k, v := range reply.header {
		answer.Headers[k] = v
	}
	if answer.Body != nil {
		answer.Headers["Content-Type"] = "application/json"
	}
	return answer, false
}

// subcall is an item as a call of its own, with the caller of the whole.
func (c *graphCall) subcall(it batchItem) (*graphCall, *graphError) {
	sub := &graphCall{t: c.t, method: it.Method, header: http.Header{}, body: it.Body, caller: c.caller}
	for k, v := range it.Headers {
		sub.header.Set(k, v)
	}
	if hasJSON(it.Body) && sub.header.Get("Content-Type") == "" {
		return sub, refuse(http.StatusBadRequest, "BadRequest", "Write request id : %s does not contain Content-Type header or body.", it.ID)
	}
	u, err := url.Parse("/v1.0/" + strings.TrimPrefix(it.URL, "/"))
	if err != nil {
		return sub, refuse(http.StatusBadRequest, "BadRequest", "The url of request id : %s is not valid.", it.ID)
	}
	sub.query, sub.self = u.Query(), u.EscapedPath()
	var failed *graphError
	sub.path, failed = parsePath(strings.Split(strings.TrimPrefix(u.EscapedPath(), "/v1.0/"), "/"), nil)
	if failed == nil && sub.path[0].name == "$batch" {
		failed = refuse(http.StatusBadRequest, "BadRequest", "A batch cannot hold a batch.")
	}
	return sub, failed
}
