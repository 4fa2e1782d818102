package controller_test

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
)

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// A command that a ledger or an agent could not read again is refused at once, and its fields are put in the form that
// comes back from a disk.
func TestSendWhatIsReadAgain(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		good := command.Command{ID: "good", Type: "own", Parameters: command.Parameters("{}"), CreatedAt: time.Now()}
		for name, spoil := range map[string]func(*command.Command){
			"too deep":         func(c *command.Command) { c.Parameters = command.Parameters(`{"a":` + nested(command.MaxDepth) + "}") },
			"deeper than JSON": func(c *command.Command) { c.Parameters = command.Parameters(`{"a":` + nested(9_999) + "}") },
			"NUL":              func(c *command.Command) { c.Parameters = command.Parameters(`{"a":"\u0000"}`) },
			"half a pair":      func(c *command.Command) { c.Parameters = command.Parameters(`{"a":"\udfff"}`) },
			"not UTF-8":        func(c *command.Command) { c.Parameters = command.Parameters("{\"a\":\"\xff\"}") },
			"not JSON":         func(c *command.Command) { c.Parameters = command.Parameters("{") },
			"year 10000":       func(c *command.Command) { c.ExpiresAt = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) },
			"year 0":           func(c *command.Command) { c.CreatedAt = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC) },
		} {
			bad := good
			bad.ID = "bad"
			spoil(&bad)
			_, err := w.c.Send(w.Context(), "vm-1", bad)
			require.ErrorIs(w, err, transport.ErrInvalid, name)
			_, err = w.c.Get(w.Context(), "bad")
			require.ErrorIs(w, err, transport.ErrUnknownCommand, name)
		}
		long := good
		long.Parameters = command.Parameters(`{"a":"` + strings.Repeat("x", command.MaxParameters) + `"}`)
		_, err := w.c.Send(w.Context(), "vm-1", long)
		require.ErrorIs(w, err, transport.ErrTooLarge)

		odd := good
		zone := time.FixedZone("odd", 19*60+32) // seconds of an offset have no form in RFC 3339
		odd.CreatedAt, odd.ExpiresAt = odd.CreatedAt.In(zone), odd.CreatedAt.Add(time.Hour).In(zone)
		r, err := w.c.Send(w.Context(), "vm-1", odd)
		require.NoError(w, err)
		e, err := w.c.Get(w.Context(), r.ID())
		require.NoError(w, err)
		require.Equal(w, time.UTC, e.Command.CreatedAt.Location())
		require.True(w, odd.ExpiresAt.Equal(e.Command.ExpiresAt))
		require.Equal(w, time.UTC, e.Command.ExpiresAt.Location())
	})
}

// Of acks in one call those that could not be read again are refused, each with its reason; the others are recorded.
func TestAcksThatAreReadAgain(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		l := w.dial(transport.Hello{VM: "vm-1", Instance: "a"})
		defer l.Close()
		bad := map[string]ack.Ack{
			"result: nested":     {Result: json.RawMessage(nested(10_000))},
			"result: not JSON":   {Result: json.RawMessage("{")},
			"result: not UTF-8":  {Result: json.RawMessage("\"\xff\"")},
			"result: a string":   {Result: json.RawMessage(`"\u0000"`)},
			"reason: not UTF-8":  {Reason: "\xff"},
			"reason: holds":      {Reason: "\x00"},
			"attempt is":         {Attempt: math.MaxInt},
			"retry_after is NaN": {RetryAfter: math.NaN()},
		}
		var acks []ack.Ack
		var want []string
		for problem, a := range bad {
			good, spoiled := w.send("vm-1", command.Options{}), w.send("vm-1", command.Options{})
			a.CommandID, a.Stage = spoiled.ID(), ack.Succeeded
			acks = append(acks, ack.Ack{CommandID: good.ID(), Stage: ack.Succeeded}, a)
			want = append(want, "", problem)
		}
		err := l.Ack(w.Context(), acks...)
		for i, a := range acks {
			e, failed := w.c.Get(w.Context(), a.CommandID)
			require.NoError(w, failed)
			if refused := transport.AckError(err, i); want[i] == "" {
				require.NoError(w, refused)
				require.Equal(w, ack.Succeeded, e.State.Stage)
			} else {
				require.ErrorIs(w, refused, transport.ErrInvalid)
				require.ErrorContains(w, refused, want[i])
				require.False(w, e.State.Settled())
			}
		}
	})
}

// An event that watchers could not be told of is not taken.
func TestEventsThatAreReadAgain(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		l := w.dial(transport.Hello{VM: "vm-1", Uplink: true})
		defer l.Close()
		for _, e := range []event.Event{
			{Type: "x", Metadata: json.RawMessage(`{"a":` + nested(64) + "}")},
			{Type: "x", PoolID: "\xff"},
			{Type: "x", Timestamp: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)},
			{Type: event.TypeHeartbeat, Heartbeat: &event.Heartbeat{VMHealth: &event.Health{CPULoad: math.NaN()}}},
		} {
			require.ErrorIs(w, l.Report(w.Context(), e), transport.ErrInvalid)
		}
	})
}

// The reason of a cancel goes to the agent as a parameter. One that may not is refused before anything is recorded.
func TestCancelReasonIsReadAgain(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		for reason, want := range map[string]error{"\x00": transport.ErrInvalid, "\xff": transport.ErrInvalid, strings.Repeat("x", ack.MaxText+1): transport.ErrTooLarge} {
			_, err := w.c.Cancel(context.Background(), r.ID(), reason)
			require.ErrorIs(w, err, want)
			e, err := w.c.Get(w.Context(), r.ID())
			require.NoError(w, err)
			require.Nil(w, e.Cancel)
		}
	})
}
