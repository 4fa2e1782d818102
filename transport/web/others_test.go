package web_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport/web"
)

// TestOthersOnTheConnection has a client use one connection for a request of ours and then for one of the embedder's own,
// on a server of the embedder's: no limit of time of ours is left on the connection.
func TestOthersOnTheConnection(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(*http.Server) (*http.Client, func()){"HTTP/1.1": memnet.Serve, "HTTP/2": memnet.ServeHTTP2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := controller.New(memory.New(), controller.Options{})
				defer c.Close()
				mux := http.NewServeMux()
				mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
				mux.HandleFunc("/own", func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Hour) // fake
					_, _ = io.Copy(w, r.Body)
				})
				protocols := new(http.Protocols)
				protocols.SetHTTP1(true)
				protocols.SetUnencryptedHTTP2(true)
				client, stop := serve(&http.Server{Handler: mux, Protocols: protocols})
				defer stop()
				for _, ours := range []func() (*http.Response, error){
					func() (*http.Response, error) {
						return client.Post("http://localhost/api/v1/vms/vm-1/heartbeat", "application/json", strings.NewReader("{}"))
					},
					func() (*http.Response, error) { return client.Get("http://localhost/api/v1/vms/vm-1/commands") },
					func() (*http.Response, error) {
						return client.Get("http://localhost/api/v1/vms/vm-1/commands?wait=20s") // parked: see longpoll
					},
					func() (*http.Response, error) { return client.Get("http://localhost/api/v1/nowhere") },
					func() (*http.Response, error) { return client.Get("http://localhost/api/v1/vms/vm-1/commands?wait=x") },
				} {
					resp, err := ours()
					require.NoError(t, err)
					_, err = io.Copy(io.Discard, resp.Body)
					require.NoError(t, err)
					resp.Body.Close()
					time.Sleep(time.Minute) // fake; the connection is idle
					resp, err = client.Post("http://localhost/own", "text/plain", strings.NewReader("theirs"))
					require.NoError(t, err)
					b, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					resp.Body.Close()
					require.Equal(t, "theirs", string(b))
				}
			})
		})
	}
}
