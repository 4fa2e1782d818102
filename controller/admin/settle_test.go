package admin_test

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

func TestSettleAndForget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{})
	ctx := t.Context()
	for _, id := range []string{"c-1", "c-2", "c-3"} {
		_, err := w.client.Send(ctx, send("vm-1", command.TypeDrain, id))
		require.NoError(t, err)
	}
	s, err := w.client.Settle(ctx, "c-1", "", "the VM burnt")
	require.NoError(t, err)
	require.Equal(t, ack.Dead, s.Stage)
	require.Equal(t, ledger.CodeSettled, s.Code)
	require.Equal(t, "the VM burnt", s.Reason)
	require.True(t, s.Verdict)
	s, err = w.client.Settle(ctx, "c-2", ack.Succeeded, "")
	require.NoError(t, err)
	require.Equal(t, ack.Succeeded, s.Stage)
	_, err = w.client.Settle(ctx, "c-2", ack.Failed, "")
	require.ErrorIs(t, err, transport.ErrInvalid)
	_, err = w.client.Settle(ctx, "none", "", "")
	require.ErrorIs(t, err, transport.ErrUnknownCommand)

	link, err := w.c.Dial(ctx, transport.Hello{VM: "vm-1", Instance: "i"})
	require.NoError(t, err)
	defer link.Close()
	_, err = w.client.Forget(ctx, "vm-1", false)
	require.ErrorIs(t, err, transport.ErrInvalid)
	require.ErrorContains(t, err, "is attached")
	f, err := w.client.Forget(ctx, "vm-1", true)
	require.NoError(t, err)
	require.Equal(t, admin.Forgotten{VM: "vm-1", Ended: 1}, f)
	s, err = w.client.Get(ctx, "c-3")
	require.NoError(t, err)
	require.Equal(t, ledger.CodeVMGone, s.Code)
	fleet, err := w.client.Fleet(ctx)
	require.NoError(t, err)
	require.Empty(t, fleet)
	_, err = w.client.Forget(ctx, "vm-2", false)
	require.ErrorIs(t, err, transport.ErrUnknownCommand)

	for _, path := range []string{"/commands/c-1/settle", "/vms/vm-1/forget"} { // a page in a browser may not
		resp, err := http.Post(w.server.URL+"/admin"+path, "text/plain", strings.NewReader("{}"))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusUnsupportedMediaType, resp.StatusCode)
	}
}

// To settle takes a grant of its own; to forget a VM one for commands of every type of it.
func TestSettleTakesAGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{Authenticator: byToken})
	all := w.as("read send")
	for _, s := range []admin.Send{send("vm-1", "drain", "drain"), send("vm-1", "shutdown", "shutdown"), send("vm-2", "drain", "other")} {
		_, err := all.Send(t.Context(), s)
		require.NoError(t, err)
	}
	settles := func(id string) func(*admin.Client) error {
		return func(c *admin.Client) error { _, err := c.Settle(t.Context(), id, "", "why"); return err }
	}
	forgets := func(vm string) func(*admin.Client) error {
		return func(c *admin.Client) error { _, err := c.Forget(t.Context(), vm, true); return err }
	}
	for _, test := range []struct {
		token string
		do    func(*admin.Client) error
		err   error
		says  string
	}{
		{"send read", settles("drain"), transport.ErrForbidden, "the grant settle:drain@vm-1"},
		{"send", settles("drain"), transport.ErrUnknownCommand, ""},
		{"settle@vm-2", settles("drain"), transport.ErrUnknownCommand, ""},
		{"settle:drain read", settles("shutdown"), transport.ErrForbidden, "the grant settle:shutdown@vm-1"},
		{"send read", forgets("vm-1"), transport.ErrForbidden, "the grant settle@vm-1"},
		{"settle:drain settle:shutdown", forgets("vm-1"), transport.ErrForbidden, "the grant settle@vm-1"},
		{"settle@vm-2", forgets("vm-1"), transport.ErrForbidden, "the grant settle@vm-1"},
		{"settle@vm-2", forgets("none"), transport.ErrForbidden, "the grant settle@none"},
	} {
		err := test.do(w.as(test.token))
		require.ErrorIs(t, err, test.err, "%s", test.token)
		require.ErrorContains(t, err, test.says, "%s", test.token)
	}
	for _, id := range []string{"drain", "shutdown"} {
		e, err := w.c.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, ack.Queued, e.State.Stage)
	}
	s, err := w.as("settle:drain@vm-1").Settle(t.Context(), "drain", "", "why")
	require.NoError(t, err)
	require.Equal(t, ack.Dead, s.Stage)
	require.Empty(t, s.Reason, "it may not read")
	require.NoError(t, forgets("vm-1")(w.as("settle@vm-1")))
	e, err := w.c.Get(t.Context(), "shutdown")
	require.NoError(t, err)
	require.Equal(t, ack.Dead, e.State.Stage)
}

// What is settled and forgotten is on record before it is done, and not done where that is not possible.
func TestSettleIsAudited(t *testing.T) {
	t.Parallel()
	a := &recorder{}
	w := newWorld(t, admin.Options{Authenticator: byToken, Audit: a})
	op := w.as("read send settle")
	for _, id := range []string{"c-1", "c-2", "c-3"} {
		_, err := op.Send(t.Context(), send("vm-1", "drain", id))
		require.NoError(t, err)
	}
	a.take(t)
	a.before = func(r admin.Record) {
		if r.Decision == admin.Allowed && len(r.Ended) == 0 && (r.CommandID == "c-1" || r.Action == admin.ActionForget && r.VM == "vm-1") {
			e, err := w.c.Get(context.Background(), cmp.Or(r.CommandID, "c-3"))
			assert.NoError(t, err)
			assert.False(t, e.State.Settled(), "it is recorded first")
		}
	}
	const by = `{"operator":"op of read send settle",`
	for _, test := range []struct {
		do   func() error
		want []string
	}{
		{func() error { _, err := op.Settle(t.Context(), "c-1", "", "why"); return err }, []string{
			by + `"action":"settle","vm_id":"vm-1","type":"drain","command_id":"c-1","stage":"dead","decision":"allowed"}`,
		}},
		{func() error {
			_, err := op.Settle(t.Context(), "c-2", ack.Stage(strings.Repeat("x", 1000)), "")
			return err
		}, []string{
			by + `"action":"settle","vm_id":"vm-1","type":"drain","command_id":"c-2","stage":"` + strings.Repeat("x", command.MaxIDLength) + `","decision":"allowed"}`,
			by + `"action":"settle","vm_id":"vm-1","type":"drain","command_id":"c-2","stage":"` + strings.Repeat("x", command.MaxIDLength) + `","decision":"failed","code":"invalid"}`,
		}},
		{func() error { _, err := op.Settle(t.Context(), "none", "", ""); return err }, []string{
			by + `"action":"settle","command_id":"none","stage":"dead","decision":"failed","code":"unknown_command"}`,
		}},
		{func() error { _, err := op.Forget(t.Context(), "vm-1", true); return err }, []string{
			by + `"action":"forget","vm_id":"vm-1","force":true,"decision":"allowed"}`,
			by + `"action":"forget","vm_id":"vm-1","force":true,"decision":"allowed","ended":["c-2","c-3"]}`,
		}},
		{func() error { _, err := op.Forget(t.Context(), "vm-2", false); return err }, []string{
			by + `"action":"forget","vm_id":"vm-2","decision":"allowed"}`,
			by + `"action":"forget","vm_id":"vm-2","decision":"failed","code":"unknown_command"}`,
		}},
	} {
		_ = test.do()
		require.Equal(t, test.want, a.take(t))
	}
	_, err := op.Send(t.Context(), send("vm-1", "drain", "c-4"))
	require.NoError(t, err)
	a.mu.Lock()
	a.before = nil
	a.err = errors.New("the disk is full")
	a.mu.Unlock()
	_, err = op.Settle(t.Context(), "c-4", "", "")
	require.ErrorIs(t, err, transport.ErrUnavailable)
	_, err = op.Forget(t.Context(), "vm-1", true)
	require.ErrorIs(t, err, transport.ErrUnavailable)
	e, err := w.c.Get(t.Context(), "c-4")
	require.NoError(t, err)
	require.Equal(t, ack.Queued, e.State.Stage)
}
