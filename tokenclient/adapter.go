package tokenclient

import (
	"context"
	"errors"

	"golang.org/x/oauth2"
)

// OAuth2 returns s as an oauth2.TokenSource. That interface has no context: a call
// waits like [Source.Token] without a deadline. The returned oauth2.Token holds the
// token as a plain string, which logs and errors can show.
//
// Do not wrap it in oauth2.ReuseTokenSource: that keeps a token until 10 seconds before
// it expires, so that the refresh in the background has no effect. oauth2.NewClient
// wraps it in this way: use [Source.Client] instead.
func (s *Source) OAuth2() oauth2.TokenSource { return tokenSource{s} }

type tokenSource struct{ source *Source }

func (t tokenSource) Token() (*oauth2.Token, error) {
	token, err := t.source.Token(context.Background())
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: token.Reveal(), TokenType: "Bearer", Expiry: token.Expires()}, nil
}

// RPCCredentials implements gRPC's credentials.PerRPCCredentials. Make it with
// [PerRPC] or [InsecurePerRPC]. It is safe for concurrent use.
type RPCCredentials struct {
	source   *Source
	status   func(code uint32, message string) error
	insecure bool
}

// PerRPC returns credentials that add the token of s to gRPC calls. This package does
// not import gRPC: pass gRPC's status.Error as status.
//
//	grpc.WithPerRPCCredentials(tokenclient.PerRPC(source, status.Error))
//
// gRPC sends the token with every call on a connection, and only over TLS. Use the
// credentials only for servers that may see the token. If a server answers with
// codes.Unauthenticated, call [Source.Invalidate].
//
// If there is no token, a call fails: with DeadlineExceeded or Canceled if its context
// ended, with Unavailable if a retry may succeed, otherwise with Unauthenticated.
func PerRPC[Code ~uint32](s *Source, status func(Code, string) error) RPCCredentials {
	return RPCCredentials{source: s, status: func(code uint32, message string) error { return status(Code(code), message) }}
}

// InsecurePerRPC is [PerRPC] for connections without TLS. Use it only if something else
// encrypts the calls, such as the sidecar of a service mesh: otherwise everybody on the
// network can read the token.
func InsecurePerRPC[Code ~uint32](s *Source, status func(Code, string) error) RPCCredentials {
	c := PerRPC(s, status)
	c.insecure = true
	return c
}

// The codes of gRPC: https://grpc.github.io/grpc/core/md_doc_statuscodes.html.
const (
	rpcCanceled         = 1
	rpcDeadlineExceeded = 4
	rpcUnavailable      = 14
	rpcUnauthenticated  = 16
)

// GetRequestMetadata returns the authorization entry of a call. It waits for a token
// until ctx ends.
func (c RPCCredentials) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := c.source.Token(ctx)
	if err == nil {
		return map[string]string{"authorization": token.Authorization()}, nil
	}
	code := uint32(rpcUnauthenticated)
	var e *Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		code = rpcCanceled
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		code = rpcDeadlineExceeded
	case errors.As(err, &e) && e.Retryable:
		code = rpcUnavailable
	}
	return nil, c.status(code, err.Error())
}

// RequireTransportSecurity returns true unless [InsecurePerRPC] made c.
func (c RPCCredentials) RequireTransportSecurity() bool { return !c.insecure }
