package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
)

// What was lost or ran twice is seen, and so is who is missing.
func TestJudge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	led, err := bolt.Open(dir, bolt.Options{})
	require.NoError(t, err)
	require.NoError(t, fill(t.Context(), led, []string{"vm-0"}, 3))
	done, err := led.List(t.Context(), "vm-0", 0, 3)
	require.NoError(t, err)
	pending, err := command.New(command.UpdateConfig{ConfigKey: "k"}, command.Options{})
	require.NoError(t, err)
	_, err = led.Append(t.Context(), "vm-0", pending, ledger.Limits{}, time.Now())
	require.NoError(t, err)
	require.NoError(t, led.Close())

	w, killed := newWitness(), time.Now()
	for _, line := range []string{
		wordAccepted + " " + done[0].Command.ID, wordRan + " " + done[0].Command.ID,
		wordAccepted + " " + done[1].Command.ID, wordRan + " " + done[1].Command.ID, wordRan + " " + done[1].Command.ID,
		wordAccepted + " " + done[2].Command.ID, // it never ran
		wordAccepted + " " + pending.ID, wordRan + " " + pending.ID,
		wordAccepted + " not-in-the-ledger",
		fmt.Sprint(wordLinked, " vm-0 ", killed.Add(time.Second).UnixNano()),
		fmt.Sprint(wordLinked, " vm-0 ", killed.Add(3*time.Second).UnixNano()), // the first counts
		fmt.Sprint(wordLinked, " vm-1 ", killed.Add(2*time.Second).UnixNano()),
		fmt.Sprint(wordLinked, " vm-2 ", killed.Add(-time.Second).UnixNano()), // that was before
	} {
		w.hear(line)
	}
	r := Reconnect{VMs: 3}
	require.NoError(t, w.judge(t.Context(), &r, killed, dir))
	require.Equal(t, 5, r.Accepted)
	require.Equal(t, 3, r.Lost)
	require.Equal(t, 1, r.Twice)
	require.Equal(t, 1, r.Missing)
	require.Equal(t, time.Second, r.P50.Round(time.Millisecond))
	require.Equal(t, 2*time.Second, r.Last.Round(time.Millisecond))
	require.Len(t, r.Back, 101)
}
