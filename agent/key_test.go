package agent_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
)

// An idempotency key is free again where no handler was called, and where one was it is not: the agent says which.
func TestWhetherAHandlerWasCalled(t *testing.T) {
	for name, c := range map[string]struct {
		params command.Parameters
		policy agent.Policy
		reply  error
		begun  bool
		stage  ack.Stage
	}{
		"parameters that do not decode":       {command.Parameters(`{"n":"one"}`), agent.Policy{}, nil, false, ack.Rejected},
		"rejected":                            {command.Parameters(`{"n":1}`), agent.Policy{}, agent.Reject("no"), true, ack.Rejected},
		"deferred until it expires":           {command.Parameters(`{"n":1}`), agent.Policy{}, agent.RetryLater(time.Minute, "busy"), true, ack.Expired},
		"deferred, and may then not start":    {command.Parameters(`{"n":1}`), agent.Policy{Confirm: true}, agent.RetryLater(9900*time.Millisecond, "busy"), true, ack.Expired},
		"deferred a moment before it expires": {command.Parameters(`{"n":1}`), agent.Policy{}, agent.RetryLater(9900*time.Millisecond, "busy"), true, ack.Expired},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.agent(agent.Options{})
				calls := 0
				agent.Handle(a, func(context.Context, *agent.Job, numbered) (any, error) {
					calls++
					if calls > 1 {
						time.Sleep(time.Second)
						return nil, agent.RetryLater(time.Minute, "busy")
					}
					return nil, c.reply
				}, c.policy)
				stop := run(w.T, a)
				cmd, err := command.NewRaw("numbered", c.params, command.Options{TTL: 10 * time.Second, IdempotencyKey: "k"})
				require.NoError(w, err)
				r, err := w.c.Send(w.Context(), "vm-1", cmd)
				require.NoError(w, err)
				w.settled(r, c.stage, "")
				time.Sleep(time.Second) // the agent's word comes after a verdict
				e, err := w.c.Get(w.Context(), r.ID())
				require.NoError(w, err)
				require.Equal(w, c.begun, e.Code == ack.CodeBegun, e.Code)
				require.Equal(w, c.begun, calls > 0)
				require.Equal(w, !c.begun, e.KeyFree())
				require.NoError(w, stop())
			})
		})
	}
}

type numbered struct {
	N int `json:"n"`
}

func (numbered) CommandType() command.Type { return "numbered" }
func (numbered) Validate() error           { return nil }
