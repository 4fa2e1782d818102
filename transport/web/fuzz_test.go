package web_test

import (
	"context"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/web"
)

// FuzzHandler: whatever a request is, its answer is a success or a problem document, and comes in the end.
func FuzzHandler(f *testing.F) {
	for _, seed := range []struct{ method, path, query, header, body string }{
		{"GET", "/vms/vm-1/commands", "wait=1ms&instance=a&after=4a0a7f84a5634e79.1.0&window=3&alive=15s", "", ""},
		{"GET", "/vms/vm-1/commands/stream", "instance=a", "Last-Event-ID: e.1.0", ""},
		{"GET", "/vms/vm-1/commands/ws", "", "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\nSec-WebSocket-Protocol: miglink.v1", ""},
		{"POST", "/vms/vm-1/commands/ack", "instance=a", "Content-Type: application/json", `[{"command_id":"c","status":"succeeded"},7]`},
		{"POST", "/vms/vm-1/events", "", "", `{"type":"vm_started","metadata":{"a":1}}`},
		{"POST", "/vms/vm-1/heartbeat", "", "Authorization: Bearer x", `{"miglet_state":"idle"}`},
		{"DELETE", "/vms/%2e%2e/commands", "%zz", "", ""},
	} {
		f.Add(seed.method, seed.path, seed.query, seed.header, seed.body)
	}
	c := controller.New(memory.New(), controller.Options{Access: controller.Unlimited()})
	f.Cleanup(func() { c.Close() })
	h := web.Handler(c, web.Options{Authenticator: transport.AuthenticatorFunc(func(_ context.Context, _ string, c transport.Credentials) (transport.Grant, error) {
		if c.Token == "bad" {
			return transport.Grant{}, transport.ErrUnauthorized
		}
		return transport.Grant{}, nil
	})})
	f.Fuzz(func(t *testing.T, method, path, query, header, body string) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond) // the client's patience; streams go on for ever
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, "GET", "/", strings.NewReader(body))
		r.Method, r.URL = method, &url.URL{Path: path, RawQuery: query}
		for line := range strings.SplitSeq(header, "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok {
				r.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
			}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		answer := w.Result()
		kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
		switch {
		case answer.StatusCode < 300:
			require.Contains(t, []string{"application/json", "text/event-stream", ""}, kind) // "": nobody waits any more
		case answer.StatusCode == http.StatusMovedPermanently || answer.StatusCode == http.StatusTemporaryRedirect: // a path that is not clean
		default:
			require.GreaterOrEqual(t, answer.StatusCode, 400)
			require.Equal(t, httplink.MediaType, kind)
			p, err := httplink.ReadProblem(answer)
			require.NoError(t, err)
			require.Equal(t, answer.StatusCode, p.Status)
			require.NotEmpty(t, p.Code)
		}
	})
}
