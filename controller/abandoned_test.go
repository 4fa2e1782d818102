package controller_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
)

// What an agent reports of abandoned runs is shown for as long as it is the VM's process.
func TestAbandonedRuns(t *testing.T) {
	var taken []string
	run(t, controller.Options{OnEvent: func(_ context.Context, _ string, e event.Event) error {
		taken = append(taken, string(e.Metadata))
		return nil
	}}, func(w *world) {
		link := w.dial(hello("a"))
		report := func(l transport.Link, metadata string) {
			require.NoError(w, l.Report(w.Context(), event.Event{Type: event.RunsAbandoned, Timestamp: time.Now(), Metadata: json.RawMessage(metadata)}))
		}
		require.Zero(w, w.presence().Abandoned)
		report(link, `{"count":2}`)
		require.Equal(w, 2, w.presence().Abandoned)
		for _, bad := range []string{`{}`, `{"count":-1}`, `{"count":"x"}`, `{"count":1.5}`, `null`} {
			report(link, bad)
			require.Equal(w, 2, w.presence().Abandoned, bad)
		}
		fleet, err := w.c.Fleet(w.Context())
		require.NoError(w, err)
		require.Equal(w, 2, fleet[0].Abandoned)
		require.NoError(w, link.Close())
		link = w.dial(hello("a"))
		require.Equal(w, 2, w.presence().Abandoned, "it is the same process")
		report(link, `{"count":1}`)
		require.Equal(w, 1, w.presence().Abandoned)
		newer := w.dial(hello("b"))
		require.Zero(w, w.presence().Abandoned)
		require.NoError(w, newer.Report(w.Context()))
		report(newer, `{"count":0}`)
		_ = link.Report(w.Context(), event.Event{Type: event.RunsAbandoned, Timestamp: time.Now(), Metadata: json.RawMessage(`{"count":7}`)})
		require.Zero(w, w.presence().Abandoned)
		require.Equal(w, `{"count":2}`, taken[0], "embedders get it, too")
	})
}
