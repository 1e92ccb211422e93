package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// delivery is where the value of a secret goes.
type delivery struct {
	send  func(context.Context, string) error
	close func() // removes what was prepared for a value that was not sent
}

// delivery prepares what can fail before there is a value. The caller closes it.
func (p *program) delivery() (*delivery, error) {
	n := 0
	for _, chosen := range []bool{p.toFile != "", p.toCommand != "", p.show} {
		if chosen {
			n++
		}
	}
	switch {
	case n != 1:
		return nil, p.misused("%s needs one of -to-file, -to-command and -show: where the value goes", p.command)
	case p.toFile != "":
		return p.deliverToFile()
	case p.toCommand != "":
		return &delivery{
			send: func(ctx context.Context, value string) error {
				cmd := exec.CommandContext(ctx, "sh", "-c", p.toCommand)
				cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(value), p.errOut, p.errOut
				if err := cmd.Run(); err != nil {
					return fmt.Errorf("-to-command: %w", err)
				}
				return nil
			},
			close: func() {},
		}, nil
	}
	return &delivery{
		send: func(_ context.Context, value string) error {
			_, err := fmt.Fprintln(p.out, value)
			return err
		},
		close: func() {},
	}, nil
}

func (p *program) deliverToFile() (*delivery, error) {
	f, err := os.OpenFile(p.toFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("-to-file: %w", err)
	}
	sent := false
	return &delivery{
		send: func(_ context.Context, value string) error {
			_, err := f.WriteString(value)
			err = errors.Join(err, f.Sync(), f.Close())
			sent = err == nil
			return err
		},
		close: func() {
			if !sent {
				_ = errors.Join(f.Close(), os.Remove(p.toFile)) // the error that the command reports came first
			}
		},
	}, nil
}

func secretAdd(ctx context.Context, p *program) error {
	return p.makeSecret(ctx, appaccess.SecretRequest{})
}

func secretRotate(ctx context.Context, p *program) error {
	return p.makeSecret(ctx, appaccess.SecretRequest{Rotate: true, Overlap: p.overlap})
}

func (p *program) makeSecret(ctx context.Context, req appaccess.SecretRequest) error {
	req.Name, req.Lifetime = p.name, p.lifetime
	to, err := p.delivery()
	if err != nil {
		return err
	}
	defer to.close()
	return with(readWrite, func(ctx context.Context, p *program, s *session) error {
		return s.deliverSecret(ctx, p, req, to)
	})(ctx, p)
}

// removalTime is how long the removal of a secret that could not be delivered may
// take after an interrupt.
const removalTime = 2 * time.Minute

func (s *session) deliverSecret(ctx context.Context, p *program, req appaccess.SecretRequest, to *delivery) error {
	made, err := s.service.AddSecret(ctx, operator, p.application, req)
	if err != nil {
		return err
	}
	id := made.Credential.ID
	if err := to.send(ctx, made.Value.Reveal()); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removalTime)
		defer cancel()
		if removal := s.service.RemoveCredential(ctx, operator, p.application, id); removal != nil {
			return fmt.Errorf("the new secret %s could not be delivered: %w\nIt could not be removed again: %w\nRun: entragate secret remove -application %s %s", id, err, removal, p.application, id)
		}
		return fmt.Errorf("the new secret %s could not be delivered and is removed again: %w", id, err)
	}
	fmt.Fprintf(p.errOut, "Secret %s of application %s is valid until %s.\n", id, p.application, made.Credential.End.UTC().Format(time.RFC3339))
	if req.Rotate {
		fmt.Fprintf(p.errOut, "The others end by %s; apply removes them then.\n", made.Credential.Start.Add(req.Overlap).UTC().Format(time.RFC3339))
	}
	return nil
}

func secretList(ctx context.Context, p *program, s *session) error {
	list, err := s.service.Credentials(ctx, operator, p.application)
	if err != nil {
		return err
	}
	if p.json {
		return p.printJSON(list)
	}
	for _, c := range list {
		fmt.Fprintf(p.out, "%s  %-11s  %q", c.ID, c.Kind, c.Name)
		if c.Hint != "" {
			fmt.Fprintf(p.out, "  %s…", c.Hint)
		}
		if !c.End.IsZero() {
			fmt.Fprintf(p.out, "  until %s", c.End.UTC().Format(time.RFC3339))
		}
		if !c.RemoveAfter.IsZero() {
			fmt.Fprintf(p.out, "  replaced, removed after %s", c.RemoveAfter.UTC().Format(time.RFC3339))
		}
		fmt.Fprintln(p.out)
	}
	return nil
}

func secretRemove(ctx context.Context, p *program, s *session) error {
	if err := s.service.RemoveCredential(ctx, operator, p.application, p.args[0]); err != nil {
		return err
	}
	fmt.Fprintf(p.errOut, "Credential %s is removed. Tokens that were issued with it stay valid until they expire.\n", p.args[0])
	return nil
}
