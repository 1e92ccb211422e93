package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/entragate/entragate/tokenclient"
)

// tokenclient does not import gRPC: this is where the compiler and a real
// server say that it fits.
var _ credentials.PerRPCCredentials = tokenclient.RPCCredentials{}

func TestPerRPCOverTLS(t *testing.T) {
	t.Parallel()
	e := newEndpoint()
	defer e.Close()
	c, err := tokenclient.New(tokenclient.Config{
		TenantID: tenant, ClientID: clientID, Authority: e.URL, Credential: tokenclient.Secret(secret), HTTPClient: e.client(),
	})
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	address := serveHealth(t, e.TLS.Certificates[0])
	pool := x509.NewCertPool()
	pool.AddCert(e.Certificate())
	secured := credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: "example.com"})

	without := dial(t, address, grpc.WithTransportCredentials(secured))
	_, err = healthpb.NewHealthClient(without).Check(ctx, nil)
	assert.Equal(t, codes.Unauthenticated, status.Code(err))

	with := dial(t, address, grpc.WithTransportCredentials(secured), grpc.WithPerRPCCredentials(tokenclient.PerRPC(c.Source(scope), status.Error)))
	for range 3 {
		_, err = healthpb.NewHealthClient(with).Check(ctx, &healthpb.HealthCheckRequest{})
		require.NoError(t, err)
	}
	assert.EqualValues(t, 1, e.requests.Load())
}

// gRPC itself refuses to send the token without TLS.
func TestPerRPCNeedsTLS(t *testing.T) {
	t.Parallel()
	_, err := grpc.NewClient("127.0.0.1:1", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(tokenclient.RPCCredentials{}))
	require.Error(t, err)
}

// In an outage of the token endpoint a call is Unavailable, so that gRPC's retry
// policies apply. Without TLS the token is sent only where InsecurePerRPC says so.
func TestPerRPCInAnOutage(t *testing.T) {
	t.Parallel()
	c, err := tokenclient.New(tokenclient.Config{
		TenantID: tenant, ClientID: clientID, Authority: "http://127.0.0.1:1", Credential: tokenclient.Secret(secret),
		Sleep: func(context.Context, time.Duration) error { return nil },
	})
	require.NoError(t, err)
	defer c.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn := dial(t, listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(tokenclient.InsecurePerRPC(c.Source(scope), status.Error)))
	_, err = healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	assert.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
}

func dial(t *testing.T, address string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, options...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// serveHealth is a server whose every call needs the endpoint's token.
func serveHealth(t *testing.T, cert tls.Certificate) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&cert)), grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if got := metadata.ValueFromIncomingContext(ctx, "authorization"); len(got) != 1 || got[0] != "Bearer t" {
				return nil, status.Error(codes.Unauthenticated, "no token")
			}
			return handle(ctx, req)
		}))
	healthpb.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}
