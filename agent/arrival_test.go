package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/clock"
	"github.com/miglink/miglink/transport"
)

// reading is what clocks show that agree.
func reading(t time.Time) clock.Reading { return clock.Reading{Monotonic: t, Wall: t.UnixNano()} }

// Where the machine has slept, or its clock was set, only the controller knows whether a command is in time.
func TestUnsure(t *testing.T) {
	t.Parallel()
	came := time.Now()
	limited := func(shift time.Duration) *task {
		a := arrival{Reading: reading(came)}
		a.Wall += int64(shift)
		return &task{Delivery: &transport.Delivery{ExpiresIn: 60_000, Command: command.Command{ExpiresAt: came.Add(time.Minute)}}, arrived: a}
	}
	now := reading(came.Add(30 * time.Second))
	for _, shift := range []time.Duration{0, time.Second, -time.Second} {
		require.False(t, limited(shift).unsure(now), shift)
	}
	for _, shift := range []time.Duration{1100 * time.Millisecond, -1100 * time.Millisecond, time.Hour, -24 * time.Hour} {
		require.True(t, limited(shift).unsure(now), shift)
	}
	gone := limited(0)
	gone.arrived = arrival{}
	require.True(t, gone.unsure(now), "it came to an earlier process")
	untold := limited(0)
	untold.ExpiresIn = 0
	require.True(t, untold.unsure(now), "the controller has not said how long it has")
	untold.ExpiresAt = time.Time{}
	require.False(t, untold.unsure(now), "it does not expire")
	require.False(t, untold.expired(reading(came.AddDate(100, 0, 0))))
	untold.arrived = arrival{}
	require.True(t, untold.unsure(now), "an earlier process may have ended it")

	require.False(t, limited(0).unsure(reading(came.Add(59*time.Second))))
	require.True(t, limited(0).unsure(reading(came.Add(59*time.Second+1))), "the delivery may have taken a second")

	late := limited(0)
	late.arrived.late = true
	require.True(t, late.unsure(now), "the machine may have slept before it came")

	last := limited(time.Hour)
	require.False(t, last.expired(reading(came.Add(time.Minute-1))), "the wall clock does not count")
	require.True(t, last.expired(reading(came.Add(time.Minute))))
}

// Of several deliveries the one that leaves the least time counts: another may have been on its way for long.
func TestDeliveredAgain(t *testing.T) {
	t.Parallel()
	came := time.Now()
	at := func(d time.Duration) arrival { return arrival{Reading: reading(came.Add(d))} }
	left := func(again *transport.Delivery, now arrival) time.Duration {
		d := &task{Delivery: &transport.Delivery{ExpiresIn: 10_000}, arrived: at(0)}
		d.delivered(again, now)
		left, _ := d.timeLeft(at(5 * time.Second).Reading)
		return left
	}
	require.Equal(t, 5*time.Second, left(&transport.Delivery{ExpiresIn: 10_000}, at(4*time.Second)), "the same, late")
	require.Equal(t, 3*time.Second, left(&transport.Delivery{ExpiresIn: 4_000}, at(4*time.Second)), "the clock has stood")
	old := &task{Delivery: &transport.Delivery{ExpiresIn: 10_000}}
	old.delivered(&transport.Delivery{ExpiresIn: 20_000}, at(0))
	require.False(t, old.unsure(at(time.Second).Reading), "one that came to an earlier process, and comes to this")
}
