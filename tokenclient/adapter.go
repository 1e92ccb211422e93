package tokenclient

import (
	"context"

	"golang.org/x/oauth2"
)

// OAuth2 is s as an oauth2.TokenSource. That interface knows no context: a call
// waits as [Source.Token] does without a deadline. What it returns holds the
// token openly, as oauth2.Token does.
//
// Do not wrap it in oauth2.ReuseTokenSource, and prefer [Source.Client] to
// oauth2.NewClient, which does so: it would keep a token until 10 seconds
// before its end and so undo the refresh in the background.
func (s *Source) OAuth2() oauth2.TokenSource { return tokenSource{s} }

type tokenSource struct{ source *Source }

func (t tokenSource) Token() (*oauth2.Token, error) {
	token, err := t.source.Token(context.Background())
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: token.Reveal(), TokenType: "Bearer", Expiry: token.Expires()}, nil
}

// PerRPC is s as gRPC's credentials.PerRPCCredentials, which it satisfies by
// structure: grpc.WithPerRPCCredentials(source.PerRPC()). It goes with every
// call of the connection that it is given to, so give it to no connection that
// must not see the token. On a codes.Unauthenticated use [Source.Invalidate].
func (s *Source) PerRPC() PerRPC { return PerRPC{s} }

// PerRPC adds the token to gRPC calls. Make it with [Source.PerRPC].
type PerRPC struct{ source *Source }

// GetRequestMetadata is the authorization entry of a call. It waits no longer
// than ctx.
func (p PerRPC) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := p.source.Token(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": token.Authorization()}, nil
}

// RequireTransportSecurity is true: gRPC refuses to send the token without TLS.
func (p PerRPC) RequireTransportSecurity() bool { return true }
