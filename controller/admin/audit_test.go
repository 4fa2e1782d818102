package admin_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

// recorder is an audit that can fail.
type recorder struct {
	mu      sync.Mutex
	records []admin.Record
	err     error
	before  func(admin.Record)
}

func (a *recorder) Record(_ context.Context, r admin.Record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.before != nil {
		a.before(r)
	}
	if a.err == nil {
		a.records = append(a.records, r)
	}
	return a.err
}

// take returns what was recorded since the last time, without the time and the remote, as JSON.
func (a *recorder) take(t *testing.T) []string {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, r := range a.records {
		require.WithinDuration(t, time.Now(), r.Time, time.Minute)
		require.NotEmpty(t, r.Remote)
		r.Time, r.Remote = time.Time{}, ""
		b, err := wirejson.Marshal(r)
		require.NoError(t, err)
		out = append(out, strings.Replace(string(b), `"time":"0001-01-01T00:00:00Z",`, "", 1))
	}
	a.records = nil
	return out
}

func TestAudit(t *testing.T) {
	t.Parallel()
	a := &recorder{}
	w := newWorld(t, admin.Options{Authenticator: byToken, Audit: a})
	op, reader := w.as("read send@vm-1"), w.as("read") // two: none has more than 10 records a second of what changes nothing
	runner := admin.Send{
		VM: "vm-1", Type: command.TypeRegisterRunner, ID: "c-1", IdempotencyKey: "k",
		Parameters: command.Parameters(`{"registration_token":"s3cret","runner_url":"https://ci.example.com"}`),
	}
	other := runner
	other.ID = "c-2"
	own := send("vm-1", "own", "c-3")
	own.Parameters = command.Parameters(`{"a":"s3cret","b":1}`)
	large := send("vm-1", "own", "c-4")
	large.Parameters = command.Parameters(`{"` + strings.Repeat("a", 17<<10) + `":1}`)
	const by = `"operator":"op of read send@vm-1",`
	for _, test := range []struct {
		do   func() error
		want []string
	}{
		{func() error { _, err := op.Send(t.Context(), runner); return err }, []string{
			`{` + by + `"action":"send","vm_id":"vm-1","type":"register_runner","command_id":"c-1","parameters":{"registration_token":"[redacted]","runner_url":"https://ci.example.com"},"parameters_size":69,"own_id":true,"idempotency_key":"k","decision":"allowed"}`,
		}},
		{func() error { _, err := op.Send(t.Context(), other); return err }, []string{
			`{` + by + `"action":"send","vm_id":"vm-1","type":"register_runner","command_id":"c-2","parameters":{"registration_token":"[redacted]","runner_url":"https://ci.example.com"},"parameters_size":69,"own_id":true,"idempotency_key":"k","decision":"allowed"}`,
			`{` + by + `"action":"send","vm_id":"vm-1","type":"register_runner","command_id":"c-2","parameters_size":69,"own_id":true,"idempotency_key":"k","decision":"allowed","known":"c-1"}`,
		}},
		{func() error { _, err := op.Send(t.Context(), own); return err }, []string{
			`{` + by + `"action":"send","vm_id":"vm-1","type":"own","command_id":"c-3","parameters":{"a":"[redacted]","b":"[redacted]"},"parameters_size":20,"own_id":true,"decision":"allowed"}`,
		}},
		{func() error { _, err := op.Send(t.Context(), large); return err }, []string{
			`{` + by + `"action":"send","vm_id":"vm-1","type":"own","command_id":"c-4","parameters_size":17414,"own_id":true,"decision":"allowed"}`,
		}},
		{func() error { _, err := op.Send(t.Context(), send("vm-1", "own", "c-3")); return err }, []string{
			`{` + by + `"action":"send","vm_id":"vm-1","type":"own","command_id":"c-3","parameters":{},"parameters_size":2,"own_id":true,"decision":"allowed"}`,
			`{` + by + `"action":"send","vm_id":"vm-1","type":"own","command_id":"c-3","parameters":{},"parameters_size":2,"own_id":true,"decision":"failed","code":"key_reused"}`,
		}},
		{func() error { _, err := op.Send(t.Context(), send("vm-2", "own", "c-5")); return err }, []string{
			`{` + by + `"action":"send","vm_id":"vm-2","type":"own","command_id":"c-5","parameters":{},"parameters_size":2,"own_id":true,"decision":"denied","code":"forbidden"}`,
		}},
		{func() error { _, err := op.Send(t.Context(), send("", "own", "c-5")); return err }, []string{
			`{` + by + `"action":"send","type":"own","command_id":"c-5","parameters":{},"parameters_size":2,"own_id":true,"decision":"failed","code":"invalid"}`,
		}},
		{func() error { _, err := op.Send(t.Context(), send("vm-1", "Own", "c-5")); return err }, []string{
			`{` + by + `"action":"send","decision":"failed","code":"invalid"}`,
		}},
		{func() error { _, err := op.Cancel(t.Context(), "c-3", "no"); return err }, []string{
			`{` + by + `"action":"cancel","vm_id":"vm-1","type":"own","command_id":"c-3","decision":"allowed"}`,
		}},
		{func() error { _, err := op.Cancel(t.Context(), "none", "no"); return err }, []string{
			`{` + by + `"action":"cancel","command_id":"none","decision":"failed","code":"unknown_command"}`,
		}},
		{func() error { _, err := op.Cancel(t.Context(), "c-4", strings.Repeat("x", 20<<10)); return err }, []string{
			`{` + by + `"action":"cancel","vm_id":"vm-1","type":"own","command_id":"c-4","decision":"allowed"}`,
			`{` + by + `"action":"cancel","vm_id":"vm-1","type":"own","command_id":"c-4","decision":"failed","code":"too_large"}`,
		}},
		{func() error { _, err := reader.Get(t.Context(), "c-1"); return err }, []string{
			`{"operator":"op of read","action":"get","vm_id":"vm-1","type":"register_runner","command_id":"c-1","decision":"allowed"}`,
		}},
		{func() error { _, err := reader.Get(t.Context(), strings.Repeat("x", 5000)); return err }, []string{
			`{"operator":"op of read","action":"get","command_id":"` + strings.Repeat("x", command.MaxIDLength) + `","decision":"failed","code":"unknown_command"}`,
		}},
		{func() error { _, err := w.as("read@vm-2").Get(t.Context(), "c-1"); return err }, []string{
			`{"operator":"op of read@vm-2","action":"get","vm_id":"vm-1","type":"register_runner","command_id":"c-1","decision":"denied","code":"unknown_command"}`,
		}},
		{func() error { _, err := reader.List(t.Context(), "vm-1", 0, 1); return err }, []string{`{"operator":"op of read","action":"list","vm_id":"vm-1","decision":"allowed"}`}},
		{func() error { _, err := reader.Fleet(t.Context()); return err }, []string{`{"operator":"op of read","action":"fleet","decision":"allowed"}`}},
		{func() error { _, err := w.as("s3cret").Fleet(t.Context()); return err }, []string{`{"action":"fleet","decision":"denied","code":"unauthorized"}`}},
	} {
		err := test.do()
		got := a.take(t)
		require.Equal(t, test.want, got, "%v", err)
		require.Equal(t, strings.Contains(strings.Join(got, ""), `"code"`), err != nil)
		require.NotContains(t, strings.Join(got, ""), "s3cret")
	}
}

// Nothing is done that is not on record before; to look is possible all the same.
func TestAuditFailsClosed(t *testing.T) {
	t.Parallel()
	a := &recorder{}
	w := newWorld(t, admin.Options{Audit: a})
	a.before = func(r admin.Record) {
		if r.Action == admin.ActionSend {
			_, err := w.c.Get(t.Context(), r.CommandID)
			require.ErrorIs(t, err, transport.ErrUnknownCommand, "it is recorded first")
		}
	}
	_, err := w.client.Send(t.Context(), send("vm-1", "drain", "c-1"))
	require.NoError(t, err)
	a.mu.Lock()
	a.err = errors.New("the disk /dev/sda7 is full")
	a.mu.Unlock()
	_, err = w.client.Send(t.Context(), send("vm-1", "drain", "c-2"))
	require.ErrorIs(t, err, transport.ErrUnavailable)
	require.Positive(t, transport.RetryAfter(err))
	require.NotContains(t, err.Error(), "sda7")
	_, err = w.c.Get(t.Context(), "c-2")
	require.ErrorIs(t, err, transport.ErrUnknownCommand)
	_, err = w.client.Cancel(t.Context(), "c-1", "")
	require.ErrorIs(t, err, transport.ErrUnavailable)
	e, err := w.c.Get(t.Context(), "c-1")
	require.NoError(t, err)
	require.Nil(t, e.Cancel)
	_, err = w.client.Get(t.Context(), "c-1")
	require.NoError(t, err)
}
