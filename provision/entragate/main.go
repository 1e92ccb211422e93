// Command entragate manages products, client applications and their objects in
// Microsoft Entra from a terminal or a pipeline.
//
//	go install github.com/entragate/entragate/provision/entragate@latest
//	entragate help
//
// It works on the store of an [appaccess.Service], a SQLite file or a PostgreSQL
// database, and on the Entra tenant of the credential in the environment.
// "entragate help COMMAND" describes each command and its flags.
//
// Exit codes: 0 success, 1 error or wrong usage. With -detailed-exitcode, 2
// means that plan or drift found changes, that apply made some, or that explain
// found a refusal.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		close(stop)
		<-signals
		cancel()
	}()
	p := &program{in: os.Stdin, out: os.Stdout, errOut: os.Stderr, getenv: os.Getenv, stop: stop, terminal: isTerminal(os.Stderr)}
	os.Exit(p.run(ctx, os.Args[1:]))
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// program is one run of the command.
type program struct {
	in          io.Reader
	out, errOut io.Writer
	getenv      func(string) string
	stop        <-chan struct{} // closed: finish the objects that are under way
	terminal    bool            // errOut is one

	options
	command string   // its name
	args    []string // what follows the name
}

// errChanges makes the exit code 2 with -detailed-exitcode.
var errChanges = errors.New("there are changes")

// usageError is a wrong command line.
type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }

// misused is the usageError of the command that runs.
func (p *program) misused(format string, args ...any) error {
	return &usageError{p.command, fmt.Errorf(format, args...)}
}

func (p *program) run(ctx context.Context, args []string) int {
	c, err := p.parse(args)
	if err == nil {
		if !c.graceful {
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(ctx)
			defer cancel()
			go func() {
				select {
				case <-p.stop:
					cancel()
				case <-ctx.Done():
				}
			}()
		}
		err = c.run(ctx, p)
	}
	var usage *usageError
	switch {
	case err == nil, errors.Is(err, errChanges) && !p.detailed:
		return 0
	case errors.Is(err, errChanges):
		return 2
	case errors.As(err, &usage):
		fmt.Fprintf(p.errOut, "entragate: %v\nRun %q for help.\n", err, strings.TrimSpace("entragate help "+usage.command))
		return 1
	}
	fmt.Fprintln(p.errOut, "entragate:", err)
	return 1
}
