// Command comparegate measures one request with an access token through the
// gate and through the libraries that do the same:
//
//	go run .
//
// Every library checks signature, issuer, audience, expiry and one role, behind
// an http.Handler, with the keys in its memory. It prints one Markdown table.
// Times are the best of many short runs, all libraries in turn, so that what
// else the machine does slows down all or none; ratios are to a bare RSA-2048
// verification in the same run.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"testing"
	"time"
)

const (
	rounds = 200
	batch  = 10
)

func main() {
	if err := table(os.Stdout, rounds); err != nil {
		fmt.Fprintln(os.Stderr, "comparegate:", err)
		os.Exit(1)
	}
}

// row is one line of the table.
type row struct {
	name string
	run  func()
	best time.Duration
}

func table(w io.Writer, rounds int) error {
	world, err := newWorld()
	if err != nil {
		return err
	}
	defer world.close()
	rows := []*row{{name: "crypto/rsa alone", run: world.baseline}}
	for _, l := range libraries {
		h, err := l.handler(world)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		requests := world.requests()
		for status, r := range map[int]*http.Request{http.StatusOK: requests[0], http.StatusUnauthorized: request(world.forged)} {
			if got := send(h, r); got != status {
				return fmt.Errorf("%s: answered %d, not %d", l.name, got, status)
			}
		}
		if l.seen {
			requests = requests[:1]
		}
		rows = append(rows, &row{name: l.name, run: cycle(h, requests)})
	}
	measure(rows, rounds)
	fmt.Fprintf(w, "%s, %s/%s, %d CPUs\n\n", time.Now().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	fmt.Fprintln(w, "| | µs a request | ratio | allocations |")
	fmt.Fprintln(w, "|---|--:|--:|--:|")
	for _, r := range rows {
		fmt.Fprintf(w, "| %s | %.1f | %.2f | %.0f |\n", r.name, float64(r.best)/1e3, float64(r.best)/float64(rows[0].best), testing.AllocsPerRun(100, r.run))
	}
	return nil
}

// send is one request.
func send(h http.Handler, r *http.Request) int {
	a := &answer{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(a, r)
	return a.status
}

// cycle sends one request after the other, at no cost of its own.
func cycle(h http.Handler, requests []*http.Request) func() {
	n := 0
	a := &answer{header: http.Header{}}
	return func() {
		h.ServeHTTP(a, requests[n%len(requests)])
		n++
	}
}

func measure(rows []*row, rounds int) {
	for range rounds {
		for _, r := range rows {
			start := time.Now()
			for range batch {
				r.run()
			}
			if d := time.Since(start) / batch; r.best == 0 || d < r.best {
				r.best = d
			}
		}
	}
}
