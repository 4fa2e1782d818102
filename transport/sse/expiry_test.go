package sse_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/sse"
)

// relayed is a Transport whose links say nothing of what is due, as those of a relay.
type relayed struct{ transport.Transport }

func (r relayed) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	l, err := r.Transport.Dial(ctx, hello)
	return struct{ transport.Link }{l}, err
}

// Over a relay, too, a client is told that its credentials have expired, whoever notices first.
func TestExpiresOverRelay(t *testing.T) {
	t.Parallel()
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			c := controller.New(memory.New(), controller.Options{})
			defer c.Close()
			mux := http.NewServeMux()
			mux.Handle("GET /vms/{vm_id}/commands/stream", sse.Handler(relayed{c}, sse.HandlerOptions{
				Authenticator: transport.AuthenticatorFunc(func(context.Context, string, transport.Credentials) (transport.Grant, error) {
					return transport.Grant{Expires: time.Now().Add(time.Second)}, nil
				}),
			}))
			client, stop := memnet.Serve(&http.Server{Handler: mux})
			defer stop()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://c/vms/vm-1/commands/stream", http.NoBody)
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Contains(t, string(b), `event: close`+"\n"+`data: {"code":"credentials_expired"`)
		})
	}
}
