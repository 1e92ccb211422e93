package tokenclient

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
)

var (
	errAborted = errors.New("a credential function ended its goroutine")
	errHung    = errors.New("earlier reads of this credential still hang: it is read again when one of them returns")
)

// guarded runs f, which calls functions of the Config, and turns a panic into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v)
		}
	}()
	return f()
}

// panicked returns an error with the place of a panic. It shows the panic's value only if
// it is a runtime error: any other value may hold a secret.
func panicked(v any) error {
	what := fmt.Sprintf("with a %T", v)
	if e, ok := v.(runtime.Error); ok {
		what = "with " + e.Error()
	}
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for inPanic := false; ; {
		frame, more := frames.Next()
		isRuntime := strings.HasPrefix(frame.Function, "runtime.")
		if inPanic && !isRuntime {
			return fmt.Errorf("a function of the caller panicked at %s:%d %s", filepath.Base(frame.File), frame.Line, what)
		}
		inPanic = inPanic || isRuntime && strings.HasSuffix(frame.Function, "panic")
		if !more {
			return fmt.Errorf("a function of the caller panicked %s", what)
		}
	}
}

// hung counts calls that were abandoned and have not returned.
type hung struct {
	count atomic.Int32
	most  int32
}

// bounded runs f and returns when f returns or ctx ends. f can hang and ignore its context:
// a file on a mount that hangs, a pipe without a writer. Then its goroutine is abandoned.
// If left.most goroutines are abandoned, bounded returns errHung and does not run f.
func bounded[T any](ctx context.Context, left *hung, f func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var zero T
	if left.count.Load() >= left.most {
		return zero, errHung
	}
	done := make(chan result, 1)
	var decided atomic.Bool // set by the first of: f returns, ctx ends
	go func() {
		r := result{err: errAborted} // if f ends its goroutine
		defer func() {
			if !decided.CompareAndSwap(false, true) {
				left.count.Add(-1)
			}
			done <- r
		}()
		r.err = guarded(func() (err error) { r.value, err = f(ctx); return err })
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		left.count.Add(1)
		if decided.CompareAndSwap(false, true) {
			return zero, ctx.Err()
		}
		left.count.Add(-1)
		r := <-done
		return r.value, r.err
	}
}
