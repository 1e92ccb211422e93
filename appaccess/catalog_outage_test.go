package appaccess_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/entragate/entragate/appaccess"
)

// logBook keeps the lines of a log: level, message and, where there is one,
// how long.
type logBook struct {
	mu    sync.Mutex
	lines []string
}

func (b *logBook) Enabled(context.Context, slog.Level) bool { return true }
func (b *logBook) WithAttrs([]slog.Attr) slog.Handler       { return b }
func (b *logBook) WithGroup(string) slog.Handler            { return b }
func (b *logBook) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "for" || a.Key == "after" || a.Key == "while" {
			line += fmt.Sprint(" ", a.Key, " ", a.Value)
		}
		return true
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, line)
	return nil
}

// take returns the lines since the last call.
func (b *logBook) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := b.lines
	b.lines = nil
	return lines
}

// Whether the store fails at once or hangs: its loss is logged, once a minute
// that it lasts, and that it is back.
func TestCatalogLogsAnOutageOnce(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]func(*moodyStore){
		"failing":   func(s *moodyStore) { s.fail = errReach },
		"hanging":   func(s *moodyStore) { s.hang = make(chan struct{}) },
		"no tables": func(s *moodyStore) { s.products = errReach },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				book := &logBook{}
				w := newWorld(t, appaccess.CatalogConfig{Logger: slog.New(book), UsageInterval: time.Second})
				time.Sleep(time.Minute + time.Second/2) // not when uses are written
				assert.Empty(t, book.take())

				w.store.set(down)
				w.write(put(&w.product))
				for range 60*10 + 30 {
					w.catalog.CountCall(appaccess.Call{SubscriptionID: "s1", Time: time.Now()})
					time.Sleep(time.Second)
				}
				lines := book.take()
				assert.GreaterOrEqual(t, len(lines), 9, lines)
				assert.LessOrEqual(t, len(lines), 11, lines)
				assert.True(t, strings.HasPrefix(lines[0], "WARN the store is unreachable for 0s while "), lines[0])
				for _, line := range lines[1:] {
					assert.True(t, strings.HasPrefix(line, "WARN the store is still unreachable for "), line)
				}

				w.store.set(func(s *moodyStore) { s.fail, s.hang, s.products = nil, nil, nil })
				time.Sleep(time.Minute)
				lines = book.take()
				if assert.Len(t, lines, 1) {
					assert.True(t, strings.HasPrefix(lines[0], "INFO the store is back after 10m"), lines[0])
				}
				time.Sleep(10 * time.Minute)
				assert.Empty(t, book.take())
			})
		})
	}
}

// answered is an error with the code of an SQL server's answer.
type answered string

func (a answered) Error() string    { return "the server answers " + string(a) }
func (a answered) SQLState() string { return string(a) }

// A lost connection does not say why it was lost. The reason is logged as soon as the
// server gives it, and each reason once.
func TestCatalogLogsWhatTheServerSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := &logBook{}
		w := newWorld(t, appaccess.CatalogConfig{Logger: slog.New(book)})
		fails := func(err error) []string {
			w.store.set(func(s *moodyStore) { s.fail = err })
			time.Sleep(5 * time.Second)
			return book.take()
		}
		assert.Equal(t, []string{"WARN the store is unreachable for 0s while following its changes"}, fails(errReach))
		still := fails(answered("53300"))
		if assert.Len(t, still, 1) {
			assert.True(t, strings.HasPrefix(still[0], "WARN the store is still unreachable for "), still[0])
		}
		assert.Empty(t, fails(errReach))
		assert.Empty(t, fails(answered("53300")))
		assert.Len(t, fails(fmt.Errorf("wrapped: %w", answered("57P03"))), 1)
		assert.Empty(t, fails(nil))
		time.Sleep(20 * time.Second)
		assert.Len(t, book.take(), 1, "back")
		assert.Len(t, fails(answered("53300")), 1, "another outage")
	})
}

// A silent feed is an outage too, even without an error. A feed that is cut off again
// and again is one outage.
func TestCatalogLogsItsFeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := &logBook{}
		w := newWorld(t, appaccess.CatalogConfig{Logger: slog.New(book)})
		w.store.set(func(s *moodyStore) { s.silent = true })
		w.write(put(&w.app))
		time.Sleep(appaccess.DownAfter + 2*time.Second)
		assert.Equal(t, []string{"WARN the store is unreachable for 0s while following its changes"}, book.take())
		w.store.set(func(s *moodyStore) { s.silent = false })
		time.Sleep(time.Minute)
		assert.Len(t, book.take(), 1, "back")

		for range 50 {
			w.store.set(func(s *moodyStore) { s.cutWith = errReach })
			time.Sleep(time.Second)
		}
		assert.Len(t, book.take(), 1)
		time.Sleep(20 * time.Second)
		assert.Len(t, book.take(), 1, "back")
	})
}

// What can be read and not written does not fill the log either.
func TestCatalogLogsThatItCannotWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := &logBook{}
		w := newWorld(t, appaccess.CatalogConfig{Logger: slog.New(book), UsageInterval: time.Second})
		w.store.set(func(s *moodyStore) { s.readOnly = errReach })
		for range 5 * 60 {
			w.catalog.CountCall(appaccess.Call{SubscriptionID: "s1", Time: time.Now()})
			time.Sleep(time.Second)
		}
		lines := book.take()
		assert.GreaterOrEqual(t, len(lines), 4, lines)
		assert.LessOrEqual(t, len(lines), 6, lines)
		for _, line := range lines {
			assert.Equal(t, "WARN usage cannot be written", line)
		}
	})
}
