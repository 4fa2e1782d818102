package bolt

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

// What is written of an entry is what encoding/json writes, and the entry comes back.
func TestEncode(t *testing.T) {
	t.Parallel()
	text := rapid.SampledFrom([]string{"", "because", "\"\n\u2028<"})
	when := rapid.SampledFrom([]time.Time{{}, time.Unix(1_700_000_000, 5).UTC()})
	rapid.Check(t, func(t *rapid.T) {
		e := &ledger.Entry{
			VM: text.Draw(t, "vm"), Seq: rapid.Uint64().Draw(t, "seq"), Code: ack.Code(text.Draw(t, "code")), Reason: text.Draw(t, "reason"), NotBefore: when.Draw(t, "not before"),
			Instance: text.Draw(t, "instance"), Run: text.Draw(t, "run"), RunEnds: when.Draw(t, "run ends"), UpdatedAt: when.Draw(t, "updated"),
			SeenAt: when.Draw(t, "seen"), Forgotten: rapid.Bool().Draw(t, "forgotten"), Version: rapid.Int().Draw(t, "version"),
			Unsent: rapid.Bool().Draw(t, "unsent"),
			Command: &command.Command{
				ID: text.Draw(t, "id"), Type: command.TypeDrain, Parameters: command.Parameters(`{"a":1}`), CreatedAt: when.Draw(t, "created"),
				ExpiresAt: when.Draw(t, "expires"), IdempotencyKey: text.Draw(t, "key"), SupersedeKey: text.Draw(t, "supersede"), Urgent: rapid.Bool().Draw(t, "urgent"),
				RunTimeout: command.MillisecondsOf(rapid.Uint64Range(0, 1e9).Draw(t, "run timeout")),
			},
			State: ack.State{Stage: ack.Started, Attempt: rapid.IntRange(0, 2).Draw(t, "attempt"), Round: rapid.IntRange(0, 2).Draw(t, "round"), Verdict: rapid.Bool().Draw(t, "verdict"), Abandoned: rapid.Bool().Draw(t, "abandoned")},
		}
		if rapid.Bool().Draw(t, "has a result") {
			e.Result = json.RawMessage(`{"r":[1]}`)
		}
		if rapid.Bool().Draw(t, "is unheard") {
			e.Unheard = &ledger.Unheard{
				Silent: rapid.IntRange(0, 2).Draw(t, "silent"), Missed: rapid.IntRange(0, 2).Draw(t, "missed"), Ended: rapid.IntRange(0, 2).Draw(t, "ended"), Via: text.Draw(t, "via"),
			}
		}
		if rapid.Bool().Draw(t, "is cancelled") {
			e.Cancel = &ledger.Cancel{At: when.Draw(t, "at"), Reason: text.Draw(t, "why")}
		}
		for range rapid.IntRange(0, 2).Draw(t, "steps") {
			e.History = append(e.History, ledger.Step{
				Stage: ack.Queued, Attempt: rapid.IntRange(0, 2).Draw(t, "step attempt"), At: when.Draw(t, "step at"), Code: ack.Code(text.Draw(t, "step code")), Reason: text.Draw(t, "step reason"), Verdict: rapid.Bool().Draw(t, "step verdict"),
			})
		}
		b, err := appendEntry(nil, e)
		require.NoError(t, err)
		want, err := json.Marshal(e)
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(b))
		back, err := decodeEntry(b)
		require.NoError(t, err)
		require.Equal(t, e, back)
	})
}
