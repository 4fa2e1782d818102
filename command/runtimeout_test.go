package command_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
)

func TestRunTimeout(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{0, command.MinRunTimeout, 1500 * time.Millisecond, command.MaxRunTimeout} {
		c, err := command.New(command.Drain{}, command.Options{RunTimeout: d})
		require.NoError(t, err)
		b, err := json.Marshal(c)
		require.NoError(t, err)
		var back command.Command
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, d, time.Duration(back.RunTimeout))
	}
	for d, want := range map[time.Duration]string{
		-time.Second:                             "run_timeout is -1s, 1s to 168h0m0s are allowed, or 0 for no limit",
		command.MinRunTimeout - time.Millisecond: "run_timeout is 999ms",
		command.MaxRunTimeout + time.Millisecond: "run_timeout is 168h0m0.001s",
		time.Second + 1:                          "no whole number of milliseconds",
	} {
		_, err := command.New(command.Drain{}, command.Options{RunTimeout: d})
		require.ErrorIs(t, err, command.ErrInvalid)
		require.ErrorContains(t, err, want)
	}
}

func TestMilliseconds(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(command.MillisecondsOf(90_000))
	require.NoError(t, err)
	require.Equal(t, "90000", string(b))
	require.Equal(t, "1m30s", command.MillisecondsOf(90_000).String())
	require.Positive(t, command.MillisecondsOf(math.MaxUint64))
	require.Zero(t, command.Milliseconds(-time.Hour).Count())
	var d command.Milliseconds
	for _, bad := range []string{`"1s"`, `-1`, `1.5`, `{}`} {
		require.Error(t, json.Unmarshal([]byte(bad), &d), bad)
	}
}
