package web_test

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
	"github.com/miglink/miglink/transport/web"
)

// Scenario 57, for a client that keeps quiet and would hold on: what it has open ends with its credentials, and says so.
func TestCredentialsExpireWhileItIsHeld(t *testing.T) {
	t.Parallel()
	const life = 10 * time.Second
	for path, status := range map[string]int{
		"/vms/vm-1/commands?wait=1m": http.StatusUnauthorized,
		"/vms/vm-1/commands/stream":  http.StatusOK, // it has begun
	} {
		synctest.Test(t, func(t *testing.T) {
			c := controller.New(memory.New(), controller.Options{})
			defer c.Close()
			client, stop := memnet.Serve(&http.Server{Handler: web.Handler(c, web.Options{
				Authenticator: transport.AuthenticatorFunc(func(context.Context, string, transport.Credentials) (transport.Grant, error) {
					return transport.Grant{Expires: time.Now().Add(life)}, nil
				}),
			})})
			defer stop()
			began := time.Now()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+path, http.NoBody)
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, life, time.Since(began), path)
			require.Equal(t, status, resp.StatusCode, path)
			require.Contains(t, string(b), `"code":"credentials_expired"`, path)
		})
	}
}
