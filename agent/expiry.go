package agent

import (
	"time"

	"github.com/miglink/miglink/internal/clock"
	"github.com/miglink/miglink/transport"
)

// A command expires by the controller's clock. The agent is told how long it has, and counts that on its own monotonic
// clock from when the delivery came, so that the two clocks need not agree. Where that count is broken the agent asks the
// controller before it starts the command, as for a type with Policy.Confirm. So it does for what an earlier process has left,
// also where that had begun it: the end may not have been journalled, or the command was ended by others since.

// arrival is when a delivery came. The zero value is of one that came to a process that is gone.
type arrival struct {
	clock.Reading
	late bool // the machine may have slept while it was on its way, so it may be old
}

// maxDrift is how far the wall clock and the monotonic clock may differ over a wait that the machine was awake for.
const maxDrift = time.Second

// awake says whether the monotonic clock has counted all the time between two readings: it stands while the machine sleeps on
// some systems, and the wall clock shows that. A wall clock that was set looks the same.
func awake(from, to clock.Reading) bool { return to.Drift(from).Abs() <= maxDrift }

// arrives returns the arrival of a page, and takes note that what comes next is waited for from now on. What was sent while the
// machine slept may be sent again by TCP a minute after it woke, so all that comes by the link is late then. mu is locked.
func (a *Agent) arrives() arrival {
	now := a.clock()
	a.late = a.late || !awake(a.waiting, now)
	a.waiting = now
	return arrival{now, a.late}
}

// delivered takes note of how long t has, as another delivery of it says. It may be older than that before, and a command
// is never given more time, so the one that leaves less counts. mu is locked.
func (t *task) delivered(d *transport.Delivery, now arrival) {
	left, known := t.timeLeft(now.Reading)
	if has, _ := d.TimeLeft(); !known || has <= left {
		t.ExpiresIn, t.arrived = d.ExpiresIn, now
	}
}

// timeLeft is how long t may still wait to be started at now; false where that is not limited, or not known. mu is locked.
func (t *task) timeLeft(now clock.Reading) (time.Duration, bool) {
	left, limited := t.TimeLeft()
	if !limited || t.arrived.IsZero() {
		return 0, false
	}
	return left - now.Sub(t.arrived.Reading), true
}

// expired says that the time to start t has passed. Where the count is broken it may have passed also if expired says that
// it has not, since a clock that stands counts too little. mu is locked.
func (t *task) expired(now clock.Reading) bool {
	left, limited := t.timeLeft(now)
	return limited && left <= 0
}

// onTheWay is how long a delivery usually takes at most: by so much the agent's count may be behind the controller's.
const onTheWay = time.Second

// unsure says that only the controller can tell whether t may start: whether its time has passed or, of one that came to a
// process that is gone, whether that had ended it, since on a full disk an end may not have been journalled. mu is locked.
func (t *task) unsure(now clock.Reading) bool {
	switch {
	case t.arrived.IsZero():
		return true
	case t.begun, t.ExpiresIn == 0 && t.ExpiresAt.IsZero(): // what has begun in time does not expire
		return false
	}
	left, known := t.timeLeft(now)
	return !known || left < onTheWay || t.arrived.late || !awake(t.arrived.Reading, now)
}
