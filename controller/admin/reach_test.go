package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

// with is a send with a supersede key, under an ID that is made up.
func with(vm string, t command.Type, supersede string) admin.Send {
	return admin.Send{VM: vm, Type: t, Supersede: supersede}
}

func cancelOf(vm, id string) admin.Send {
	b, _ := json.Marshal(map[string]string{"command_id": id})
	return admin.Send{VM: vm, Type: command.TypeCancel, Parameters: b}
}

// By a supersede key a send ends only what its sender may send.
func TestSupersedeTakesAGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{Authenticator: byToken})
	all := w.as("read send")
	shutdown, err := all.Send(t.Context(), with("vm-1", command.TypeShutdown, "k"))
	require.NoError(t, err)
	for token, says := range map[string]string{
		"send:drain@vm-*":      "the grant send@vm-1", // it may not see what is in the way, and is not told
		"send:drain@vm-* read": "the grant send:shutdown@vm-1",
	} {
		_, err := w.as(token).Send(t.Context(), with("vm-1", "drain", "k"))
		require.ErrorIs(t, err, transport.ErrForbidden)
		require.ErrorContains(t, err, says)
		if !strings.Contains(token, "read") {
			require.NotContains(t, err.Error(), "shutdown")
			require.NotContains(t, err.Error(), shutdown.ID)
		}
		_, err = w.as(token).Send(t.Context(), with("vm-1", "drain", "mine"))
		require.NoError(t, err, "with another key it may")
		_, err = w.as(token).Send(t.Context(), with("vm-2", "drain", "k"))
		require.NoError(t, err, "and to another VM")
	}
	e, err := w.c.Get(t.Context(), shutdown.ID)
	require.NoError(t, err)
	require.Equal(t, ack.Queued, e.State.Stage)
	_, err = w.as("send:drain@vm-1 send:shutdown@vm-1").Send(t.Context(), with("vm-1", "drain", "k"))
	require.NoError(t, err)
	e, err = w.c.Get(t.Context(), shutdown.ID)
	require.NoError(t, err)
	require.Equal(t, ack.Superseded, e.State.Stage)
}

// There is no moment at which another operator's send is ended by one that may not: the two are sent at once.
func TestSupersedeTakesAGrantAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{Authenticator: byToken})
	const rounds = 30
	var sends sync.WaitGroup
	for _, typ := range []command.Type{command.TypeDrain, command.TypeShutdown} {
		own := w.as("send:" + string(typ))
		sends.Go(func() {
			for i := range rounds {
				_, err := own.Send(t.Context(), with(fmt.Sprint("vm-", i), typ, "k"))
				if err != nil && !errors.Is(err, transport.ErrForbidden) {
					t.Error(err)
				}
			}
		})
	}
	sends.Wait()
	for i := range rounds {
		list, err := w.c.List(t.Context(), fmt.Sprint("vm-", i), 0, 10)
		require.NoError(t, err)
		require.Len(t, list, 1, "one is there first, and stays")
		require.Equal(t, ack.Queued, list[0].State.Stage)
	}
}

// A command of type cancel for what is not there yet would cancel whatever is sent later.
func TestCancelOfTheFuture(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{Authenticator: byToken})
	all := w.as("read send")
	for vm, id := range map[string]string{"vm-1": "here", "vm-2": "elsewhere"} {
		_, err := all.Send(t.Context(), send(vm, command.TypeShutdown, id))
		require.NoError(t, err)
	}
	mine, err := all.Send(t.Context(), send("vm-1", command.TypeDrain, "mine"))
	require.NoError(t, err)

	// What is not there, what is not this VM's and what one may not see are answered alike.
	for _, token := range []string{"send:cancel@vm-1", "send:cancel send:drain@vm-1 read:drain"} {
		var answers []string
		for _, id := range []string{"future", "elsewhere", "here"} {
			_, err := w.as(token).Send(t.Context(), cancelOf("vm-1", id))
			require.ErrorIs(t, err, transport.ErrForbidden, id)
			require.ErrorContains(t, err, "the grant send@vm-1")
			answers = append(answers, err.Error())
		}
		require.Equal(t, answers[0], answers[1])
		require.Equal(t, answers[0], answers[2])
	}
	_, err = w.as("send:cancel read").Send(t.Context(), cancelOf("vm-1", "here"))
	require.ErrorContains(t, err, "the grant send:shutdown@vm-1")
	_, err = w.as("send:cancel send:drain@vm-1").Send(t.Context(), cancelOf("vm-1", mine.ID))
	require.NoError(t, err)
	_, err = w.as("send:cancel@vm-1 send:shutdown@vm-2").Send(t.Context(), cancelOf("vm-1", "elsewhere"))
	require.ErrorIs(t, err, transport.ErrForbidden, "there the ID means nothing yet")
	_, err = w.as("send@vm-1").Send(t.Context(), cancelOf("vm-1", "future"))
	require.NoError(t, err)
	_, err = w.as("send:*@vm-1").Send(t.Context(), cancelOf("vm-1", "future"))
	require.ErrorIs(t, err, transport.ErrForbidden, "types with a slash are not among them")
}

// Two fields of one name, which readers take for one, are refused; where they differ by case, what is judged is what is sent.
func TestCancelOfTwo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{Authenticator: byToken})
	all := w.as("read send")
	for id, typ := range map[string]command.Type{"theirs": command.TypeShutdown, "mine": command.TypeDrain} {
		_, err := all.Send(t.Context(), send("vm-1", typ, id))
		require.NoError(t, err)
	}
	own := w.as("send:cancel send:drain read")
	for _, parameters := range []string{`{"command_id":"theirs","command_id":"mine"}`, `{"command_id":"mine","command_id":"theirs"}`} {
		_, err := own.Send(t.Context(), admin.Send{VM: "vm-1", Type: command.TypeCancel, Parameters: command.Parameters(parameters)})
		require.ErrorIs(t, err, transport.ErrInvalid)
		require.ErrorContains(t, err, `the field "command_id" is there twice`)
	}
	s := admin.Send{VM: "vm-1", Type: command.TypeCancel, Parameters: command.Parameters(`{"command_id":"theirs","COMMAND_ID":"mine"}`), Urgent: true}
	status, err := own.Send(t.Context(), s)
	require.NoError(t, err)
	e, err := w.c.Get(t.Context(), status.ID)
	require.NoError(t, err)
	require.JSONEq(t, `{"command_id":"mine"}`, string(e.Command.Parameters))
	s.Parameters = command.Parameters(`{"command_id":"mine","Command_ID":"theirs"}`)
	_, err = own.Send(t.Context(), s)
	require.ErrorIs(t, err, transport.ErrForbidden)
}

// Whatever an operator asks about a name that can be guessed, the answer is the same whether a command that the
// operator may not see has that name or not.
func TestNamesAreNoOracle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{Authenticator: byToken})
	all := w.as("read send")
	random := []string{uuid.NewString(), uuid.NewString()}
	for _, s := range []admin.Send{
		{VM: "vm-2", Type: command.TypeDrain, ID: "taken", IdempotencyKey: "taken"},
		{VM: "vm-1", Type: command.TypeShutdown, ID: "taken-1", IdempotencyKey: "taken"},
		{VM: "vm-2", Type: command.TypeDrain, ID: random[0]},
		{VM: "vm-1", Type: command.TypeShutdown, ID: uuid.NewString(), IdempotencyKey: random[1]},
	} {
		_, err := all.Send(t.Context(), s)
		require.NoError(t, err)
	}
	told := func(err error) string {
		if err == nil {
			return "success"
		}
		return err.Error()
	}
	limited := w.as("send:drain@vm-1 send:cancel@vm-1 read:drain@vm-1")
	ctx := t.Context()
	for what, ask := range map[string]func(name string) error{
		"an ID":                      func(n string) error { _, err := limited.Send(ctx, send("vm-1", command.TypeDrain, n)); return err },
		"an ID of its VM":            func(n string) error { _, err := limited.Send(ctx, send("vm-1", command.TypeDrain, n+"-1")); return err },
		"a get":                      func(n string) error { _, err := limited.Get(ctx, n); return err },
		"a cancel":                   func(n string) error { _, err := limited.Cancel(ctx, n, ""); return err },
		"a cancel of its VM":         func(n string) error { _, err := limited.Cancel(ctx, n+"-1", ""); return err },
		"a cancel command":           func(n string) error { _, err := limited.Send(ctx, cancelOf("vm-1", n)); return err },
		"a cancel command of its VM": func(n string) error { _, err := limited.Send(ctx, cancelOf("vm-1", n+"-1")); return err },
		"a key": func(n string) error {
			_, err := limited.Send(ctx, admin.Send{VM: "vm-1", Type: command.TypeDrain, IdempotencyKey: n})
			return err
		},
		"a wait": func(n string) error {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			_, err := limited.Wait(ctx, n)
			return err
		},
	} {
		require.Equal(t, told(ask("free")), told(ask("taken")), what)
		require.NotContains(t, told(ask("taken")), "key_reused", what)
	}

	// Of names that nobody can guess it is told no more, should somebody know one.
	_, err := limited.Send(ctx, send("vm-1", command.TypeDrain, random[0]))
	require.EqualError(t, err, told(func() error { _, err := limited.Send(ctx, send("vm-1", command.TypeDrain, "free")); return err }()))
	_, err = limited.Send(ctx, admin.Send{VM: "vm-1", Type: command.TypeDrain, IdempotencyKey: random[1]})
	require.EqualError(t, err, told(func() error {
		_, err := limited.Send(ctx, admin.Send{VM: "vm-1", Type: command.TypeDrain, IdempotencyKey: "free"})
		return err
	}()))

	// UUIDs that are made of names, or are none, can be guessed.
	for _, id := range []string{
		uuid.NewSHA1(uuid.NameSpaceDNS, []byte("x")).String(), uuid.NewMD5(uuid.NameSpaceDNS, []byte("x")).String(), uuid.Nil.String(), uuid.Max.String(),
		"{" + uuid.NewString() + "}", "urn:uuid:" + uuid.NewString(), strings.ReplaceAll(uuid.NewString(), "-", ""), uuid.NewString() + "x",
	} {
		_, err := limited.Send(ctx, send("vm-1", command.TypeDrain, id))
		require.ErrorIs(t, err, transport.ErrForbidden, id)
	}

	// Who gets a clear answer: of what it has sent itself, and who may see it all.
	own := uuid.Must(uuid.NewV7()).String()
	_, err = limited.Send(ctx, send("vm-1", command.TypeDrain, own))
	require.NoError(t, err)
	again, err := limited.Send(ctx, send("vm-1", command.TypeDrain, own))
	require.NoError(t, err)
	require.False(t, *again.Created)
	other := send("vm-1", command.TypeDrain, own)
	other.Parameters = command.Parameters(`{"reason":"another"}`)
	_, err = limited.Send(ctx, other)
	require.ErrorIs(t, err, transport.ErrKeyReused)
	_, err = w.as("read send:drain@vm-1").Send(ctx, send("vm-1", command.TypeDrain, "taken"))
	require.ErrorIs(t, err, transport.ErrKeyReused)
	_, err = w.as("read send:drain@vm-1").Send(ctx, send("vm-1", command.TypeDrain, "chosen"))
	require.NoError(t, err)
	_, err = w.as("read@vm-1 send:drain@vm-1").Send(ctx, admin.Send{VM: "vm-1", Type: command.TypeDrain, IdempotencyKey: "taken"})
	require.ErrorIs(t, err, transport.ErrKeyReused, "keys are of one VM, and it may read all of that")
	_, err = w.as("send").Send(ctx, send("vm-1", command.TypeDrain, "chosen"))
	require.ErrorIs(t, err, transport.ErrForbidden, "it may not see what others have called so")
}

// What a send has asked for, and what it has ended, is on record.
func TestAuditOfWhatIsEnded(t *testing.T) {
	t.Parallel()
	a := &recorder{}
	w := newWorld(t, admin.Options{Authenticator: byToken, Audit: a})
	op := w.as("read send")
	var ids []string
	for range 100 {
		s, err := op.Send(t.Context(), with("vm-1", command.TypeDrain, ""))
		require.NoError(t, err)
		ids = append(ids, s.ID)
	}
	a.take(t)
	// One that ends nothing, in all its detail.
	_, err := op.Send(t.Context(), admin.Send{
		VM: "vm-1", Type: command.TypeDrain, ID: "c-1", Supersede: "k", Urgent: true, TTL: command.Duration(time.Hour), IdempotencyKey: "key",
		RunTimeout: command.Duration(time.Minute),
	})
	require.NoError(t, err)
	const by = `"operator":"op of read send",`
	require.Equal(t, []string{
		`{` + by + `"action":"send","vm_id":"vm-1","type":"drain","command_id":"c-1","parameters":{},"parameters_size":2,"own_id":true,` +
			`"idempotency_key":"key","supersede":"k","urgent":true,"ttl":"1h0m0s","run_timeout":"1m0s","decision":"allowed"}`,
	}, a.take(t))
	// One that ends that, and a cancel.
	s, err := op.Send(t.Context(), with("vm-1", command.TypeShutdown, "k"))
	require.NoError(t, err)
	line := `{` + by + `"action":"send","vm_id":"vm-1","type":"shutdown","command_id":"` + s.ID + `",`
	require.Equal(t, []string{
		line + `"parameters":{},"parameters_size":2,"supersede":"k","decision":"allowed"}`,
		line + `"parameters_size":2,"supersede":"k","decision":"allowed","ended":["c-1"]}`,
	}, a.take(t))
	s, err = op.Send(t.Context(), cancelOf("vm-1", ids[0]))
	require.NoError(t, err)
	require.Equal(t, []string{
		`{` + by + `"action":"send","vm_id":"vm-1","type":"cancel","command_id":"` + s.ID + `","parameters":{"command_id":"` + ids[0] + `"},` +
			`"parameters_size":` + fmt.Sprint(len(`{"command_id":""}`)+len(ids[0])) + `,"target":"` + ids[0] + `","decision":"allowed"}`,
	}, a.take(t))
}
