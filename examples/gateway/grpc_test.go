package main

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/entragate/entragate/appaccess"
)

// gRPC passes a proxy that ends TLS, the gateway and the server behind it:
// unary calls, streams, trailers with the status, and refusals.
func TestGRPC(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var seen metadata.MD
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		seen, _ = metadata.FromIncomingContext(ctx)
		return next(ctx, req)
	}))
	states := health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, states)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)

	const service = "/grpc.health.v1.Health"
	s := openShop(t, nil, nil)
	_, err = s.service.CreateAPI(t.Context(), manager, appaccess.APIRequest{ID: "health", Name: "Health", Path: service, ServiceURL: "http://" + l.Addr().String() + service})
	require.NoError(t, err)
	_, err = s.service.CreateProduct(t.Context(), manager, appaccess.ProductRequest{ID: "health", Name: "Health", Access: appaccess.Access{Key: true}, APIs: []string{"health"}, Published: true})
	require.NoError(t, err)
	issued, err := s.service.CreateSubscription(t.Context(), manager, appaccess.SubscriptionRequest{ID: "rpc", Name: "RPC", Scope: appaccess.ProductScope("health")})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(s.catalog.Snapshot().ProductsOf("health")) == 1 }, patience, tick)

	front := terminator(t, s.address)
	tls := credentials.NewTLS(front.Client().Transport.(*http.Transport).TLSClientConfig)
	conn, err := grpc.NewClient("passthrough:///"+front.Listener.Addr().String(), grpc.WithTransportCredentials(tls))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	client := grpc_health_v1.NewHealthClient(conn)
	request := &grpc_health_v1.HealthCheckRequest{}
	_, err = client.Check(t.Context(), request)
	assert.Equal(t, codes.Unauthenticated, status.Code(err), "%v", err)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "ocp-apim-subscription-key", issued.Primary.Reveal(), "entragate-client", "forged")
	answer, err := client.Check(ctx, request)
	require.NoError(t, err)
	assert.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, answer.Status)
	assert.Equal(t, []string{"rpc"}, seen.Get("entragate-subscription"))
	assert.Empty(t, seen.Get("entragate-client"))
	assert.Empty(t, seen.Get("ocp-apim-subscription-key"))
	_, err = client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "unknown"})
	assert.Equal(t, codes.NotFound, status.Code(err), "the status in the trailers passes: %v", err)

	watch, err := client.Watch(ctx, request)
	require.NoError(t, err)
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING} {
		got, err := watch.Recv()
		require.NoError(t, err, "messages come one by one")
		assert.Equal(t, want, got.Status)
		states.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	}
}
