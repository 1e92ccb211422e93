// Command comparetoken measures what 1,000 callers with a deadline of 100 ms
// each do to a token endpoint that fails, and what it does to them, with
// tokenclient and with the libraries that do the same:
//
//	go run .
//
// It prints one Markdown table, once with all callers at the same moment and
// once with them spread over two seconds. Requests are those that reached the
// token endpoint until shortly after the last caller was back, or until 15
// seconds were over; every library's HTTP client gives up after 2 seconds.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	callers  = 1000
	deadline = 100 * time.Millisecond
	watched  = 15 * time.Second
	spread   = 2 * time.Second
	grace    = 200 * time.Millisecond // for requests that callers left behind
)

func main() {
	if err := table(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "comparetoken:", err)
		os.Exit(1)
	}
}

func table(w io.Writer) error {
	fmt.Fprintln(w, "| the endpoint | a valid token is | client | requests, at once | slowest caller | requests, over 2 s | slowest caller | callers without a token |")
	fmt.Fprintln(w, "|---|---|---|--:|--:|--:|--:|--:|")
	for _, f := range faults {
		for _, warm := range []bool{false, true} {
			for _, l := range libraries {
				once, err := measure(l, f, warm, 0)
				if err != nil {
					return fmt.Errorf("%s: %w", l.name, err)
				}
				over, err := measure(l, f, warm, spread)
				if err != nil {
					return fmt.Errorf("%s: %w", l.name, err)
				}
				fmt.Fprintf(w, "| %s | %s | %s | %d | %s | %d | %s | %d, %d |\n", f.name, held(warm), l.name,
					once.requests, once.slow(), over.requests, over.slow(), once.failed, over.failed)
			}
		}
	}
	return nil
}

func held(warm bool) string {
	if warm {
		return "held, refresh due"
	}
	return "not held"
}

// result of one measurement.
type result struct {
	requests int64
	slowest  time.Duration
	waiting  int64 // callers that were not back when watching ended
	failed   int64 // callers that got no token, or were not back
}

func (r result) slow() string {
	if r.waiting > 0 {
		return fmt.Sprintf("> %v, %d still waiting", watched, r.waiting)
	}
	return r.slowest.Round(time.Millisecond).String()
}

// measure lets all callers ask, evenly over a time, while the endpoint has the
// fault. Warm means that the library has a token for which the server's refresh_in is over.
func measure(l library, f *fault, warm bool, over time.Duration) (result, error) {
	e := newEndpoint()
	defer e.Close()
	var ahead atomic.Int64
	get, err := l.make(e, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	if err != nil {
		return result{}, err
	}
	if warm {
		if err := get(context.Background()); err != nil {
			return result{}, err
		}
		ahead.Store(int64(10 * time.Minute)) // past the jitter behind refresh_in
		time.Sleep(1100 * time.Millisecond)  // the others have no clock to set
	}
	e.requests.Store(0)
	e.fault.Store(f)
	r := rush(e, get, over)
	close(e.over)
	return r, nil
}

func rush(e *endpoint, get getter, over time.Duration) result {
	var (
		all              sync.WaitGroup
		back, ok, slowly atomic.Int64
	)
	start := time.Now()
	for i := range callers {
		all.Go(func() {
			time.Sleep(over * time.Duration(i) / callers)
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			began := time.Now()
			err := get(ctx)
			raise(&slowly, int64(time.Since(began)))
			if err == nil {
				ok.Add(1)
			}
			back.Add(1)
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
		time.Sleep(grace)
	case <-time.After(watched - time.Since(start)):
	}
	return result{
		requests: e.requests.Load(), slowest: time.Duration(slowly.Load()),
		waiting: callers - back.Load(), failed: callers - ok.Load(),
	}
}

func raise(v *atomic.Int64, to int64) {
	for {
		old := v.Load()
		if to <= old || v.CompareAndSwap(old, to) {
			return
		}
	}
}
