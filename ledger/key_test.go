package ledger_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

func keyed(away bool) *ledger.Entry {
	cmd := command.Command{ID: "c-1", Type: command.TypeDrain, IdempotencyKey: "k"}
	return ledger.Limits{Away: away}.New("vm-1", 1, cmd, time.Unix(1, 0))
}

func TestKeyFree(t *testing.T) {
	t.Parallel()
	now := time.Unix(2, 0)
	said := func(a ack.Ack) func(*ledger.Entry) {
		return func(e *ledger.Entry) { _ = e.Acked(a, ledger.Speaker{}, now) }
	}
	verdict := func(stage ack.Stage, code ack.Code) func(*ledger.Entry) {
		return func(e *ledger.Entry) { e.Conclude(stage, code, "", now) }
	}
	send := func(e *ledger.Entry) { _ = e.Send() }
	gone := func(e *ledger.Entry) { e.Gone("", now) }
	cancel := func(e *ledger.Entry) { e.RequestCancel("", now) }
	for name, c := range map[string]struct {
		do         []func(*ledger.Entry)
		away, free bool
	}{
		"waits":                               {nil, true, false},
		"expired, and no link had it":         {[]func(*ledger.Entry){verdict(ack.Expired, "")}, true, true},
		"expired, and a link may have had it": {[]func(*ledger.Entry){verdict(ack.Expired, "")}, false, false},
		"expired, and handed out":             {[]func(*ledger.Entry){send, verdict(ack.Expired, "")}, true, false},
		"expired, and the agent says so":      {[]func(*ledger.Entry){send, verdict(ack.Expired, ""), said(ack.Ack{Stage: ack.Expired})}, true, true},
		"the agent says that it expired":      {[]func(*ledger.Entry){said(ack.Ack{Stage: ack.Expired})}, false, true},
		"expired after a deferral":            {[]func(*ledger.Entry){said(ack.Ack{Stage: ack.Deferred}), said(ack.Ack{Stage: ack.Expired})}, false, false},
		"expired after a deferral, unheard":   {[]func(*ledger.Entry){said(ack.Ack{Stage: ack.Expired, Code: ack.CodeBegun})}, false, false},
		"rejected":                            {[]func(*ledger.Entry){said(ack.Ack{Stage: ack.Rejected})}, false, true},
		"rejected by its handler":             {[]func(*ledger.Entry){said(ack.Ack{Stage: ack.Rejected, Code: ack.CodeBegun})}, false, false},
		"rejected once it had started":        {[]func(*ledger.Entry){said(ack.Ack{Stage: ack.Started}), said(ack.Ack{Stage: ack.Rejected})}, false, false},
		"the VM is gone, and never had it":    {[]func(*ledger.Entry){gone}, true, true},
		"the VM is gone":                      {[]func(*ledger.Entry){send, gone}, true, false},
		"given up":                            {[]func(*ledger.Entry){verdict(ack.Dead, "")}, true, false},
		"settled by hand as dead":             {[]func(*ledger.Entry){verdict(ack.Dead, ledger.CodeSettled)}, true, false},
		"settled by hand as succeeded":        {[]func(*ledger.Entry){verdict(ack.Succeeded, ledger.CodeSettled)}, true, false},
		"superseded":                          {[]func(*ledger.Entry){verdict(ack.Superseded, "")}, true, false},
		"the agent says superseded":           {[]func(*ledger.Entry){said(ack.Ack{Stage: ack.Superseded})}, false, false},
		"canceled before it was delivered":    {[]func(*ledger.Entry){cancel}, true, false},
		"canceled by the agent":               {[]func(*ledger.Entry){cancel, said(ack.Ack{Stage: ack.Canceled})}, false, false},
		"cancelled, then expired":             {[]func(*ledger.Entry){func(e *ledger.Entry) { e.Delivered(1, now) }, cancel, said(ack.Ack{Stage: ack.Expired})}, false, false},
		"succeeded":                           {[]func(*ledger.Entry){said(ack.Ack{Stage: ack.Succeeded})}, false, false},
		"failed":                              {[]func(*ledger.Entry){said(ack.Ack{Stage: ack.Failed})}, false, false},
		"interrupted":                         {[]func(*ledger.Entry){said(ack.Ack{Stage: ack.Interrupted})}, false, false},
		"expired, and it ran all the same":    {[]func(*ledger.Entry){verdict(ack.Expired, ""), said(ack.Ack{Stage: ack.Succeeded})}, true, false},
		"expired, and an agent knows of it":   {[]func(*ledger.Entry){said(ack.Ack{Stage: ack.Received}), verdict(ack.Expired, "")}, true, false},
	} {
		e := keyed(c.away)
		for _, do := range c.do {
			do(e)
		}
		require.Equal(t, c.free, e.KeyFree(), name)
	}
}

// An entry as an older version wrote it may have been handed out.
func TestKeyOfAnOlderEntry(t *testing.T) {
	t.Parallel()
	var e ledger.Entry
	require.NoError(t, json.Unmarshal([]byte(`{"vm_id":"vm-1","seq":1,"command":{"id":"c-1","type":"drain","parameters":{},"idempotency_key":"k"},
		"state":{"stage":"expired","verdict":true},"version":2}`), &e))
	require.False(t, e.KeyFree())
}

func TestSend(t *testing.T) {
	t.Parallel()
	e := keyed(true)
	before := *e
	require.NoError(t, e.Send())
	require.True(t, ledger.Changed(&before, e))
	again := *e
	require.NoError(t, again.Send())
	require.False(t, ledger.Changed(e, &again), "it costs no write the second time")
	e = keyed(true)
	e.Conclude(ack.Expired, "", "", time.Unix(2, 0))
	require.Error(t, e.Send(), "what has ended is not handed out")
	plain := ledger.Limits{Away: true}.New("vm-1", 1, command.Command{ID: "c-1"}, time.Unix(1, 0))
	require.False(t, plain.Unsent, "without a key nobody asks")
}

// Whatever befalls a command, in whatever order: once its key is free no handler has run, nor will one. Agents are honest:
// one that has called a handler says so with what it says at the end. Its words come late, twice, or never.
func TestKeyIsFreeOnlyOfWhatNeverRuns(t *testing.T) {
	t.Parallel()
	frees := 0
	rapid.Check(t, func(t *rapid.T) {
		e := keyed(rapid.Bool().Draw(t, "away"))
		handed, ran := !e.Unsent && rapid.Bool().Draw(t, "handed out"), false
		var said []ack.Ack // by the agent, on its way
		ended := false     // at the agent
		now := time.Unix(2, 0)
		say := func(stage ack.Stage) {
			a := ack.Ack{CommandID: "c-1", Stage: stage}
			if ran && (stage == ack.Rejected || stage == ack.Expired) {
				a.Code = ack.CodeBegun
			}
			said, ended = append(said, a), ended || stage.Final()
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"send", "run", "end", "hear", "verdict", "gone", "cancel", "deliver"}).Draw(t, "step") {
			case "send":
				handed = e.Send() == nil || handed
			case "run":
				if handed && !ended {
					ran = true
					if rapid.Bool().Draw(t, "says so") {
						say(rapid.SampledFrom([]ack.Stage{ack.Started, ack.Progress, ack.Deferred}).Draw(t, "begins"))
					}
				}
			case "end":
				if stages := []ack.Stage{ack.Expired, ack.Rejected, ack.Canceled, ack.Superseded}; handed && !ended {
					if ran {
						stages = append(stages, ack.Succeeded, ack.Failed, ack.Interrupted)
					}
					say(rapid.SampledFrom(stages).Draw(t, "end"))
				}
			case "hear":
				if len(said) > 0 {
					_ = e.Acked(rapid.SampledFrom(said).Draw(t, "heard"), ledger.Speaker{}, now)
				}
			case "verdict":
				e.Conclude(rapid.SampledFrom([]ack.Stage{ack.Expired, ack.Dead, ack.Superseded}).Draw(t, "verdict"), "", "", now)
			case "gone":
				e.Gone("", now)
			case "cancel":
				e.RequestCancel("", now)
			case "deliver":
				if handed {
					e.Delivered(e.State.Attempt+1, now)
				}
			}
			if e.KeyFree() {
				frees++
				require.True(t, e.State.Settled())
				require.False(t, ran, "it ran, and its key is free")
				require.True(t, ended || !handed, "it may run yet, and its key is free")
			}
		}
	})
	require.NotZero(t, frees)
}
