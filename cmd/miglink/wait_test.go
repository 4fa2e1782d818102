package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

// Whoever waits for a command's outcome, and does not hear of it, is told the command's ID and how far it was: it is
// recorded, and goes on.
func TestWaitInVain(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	gone := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for _, test := range []struct {
		name   string
		ctx    context.Context
		serve  http.HandlerFunc
		wait   time.Duration
		status int
		want   string
	}{
		{"the controller is gone", t.Context(), gone, 300 * time.Millisecond, exitTimeout, "c-1 was queued when the controller was last heard of; it goes on: no answer from the controller"},
		{"a proxy answers for it", t.Context(), http.NotFound, 300 * time.Millisecond, exitTimeout, "c-1 was queued when the controller was last heard of; it goes on: something between here and the controller, or another server at its address, answered 404"},
		{"nothing comes of it", t.Context(), func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 100 * time.Millisecond, exitTimeout, "c-1 is queued, and the time to wait is up; it goes on"},
		{"interrupted", ctx, func(_ http.ResponseWriter, r *http.Request) {
			interrupt()
			<-r.Context().Done()
		}, time.Hour, exitInterrupted, "interrupted; c-1 is queued, and goes on"},
		{"forgotten", t.Context(), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"type":"urn:miglink:error:unknown_command","status":404,"code":"unknown_command","detail":"there is no such command"}`))
		}, time.Hour, exitNotFound, "c-1 is recorded, but its outcome cannot be waited for: miglink: unknown_command"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(test.serve)
			defer s.Close()
			client, err := admin.NewClient(s.URL, transport.Config{})
			require.NoError(t, err)
			latest, late, err := wait(test.ctx, client, admin.Status{ID: "c-1", Stage: ack.Queued}, test.wait)
			require.Equal(t, "c-1", latest.ID)
			if err == nil {
				err = late
			}
			require.ErrorContains(t, err, test.want)
			require.Equal(t, test.status, exitStatus(err))
		})
	}
}
