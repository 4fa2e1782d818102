package ledger

import (
	"fmt"
	"time"

	"github.com/miglink/miglink/ack"
)

// Of a run that is limited the agent says how it ended: by its limit, or within a grace after that. Where nothing is heard
// for RunSlack more, the controller ends it.
const (
	// RunGrace is how long an agent may take to end a run that has reached its limit, where it does not say (ack.Ack.EndsIn).
	RunGrace = 10 * time.Second
	// RunSlack is for what is said to arrive.
	RunSlack = 30 * time.Second
)

// runEnds is by when the agent is to have ended the run that a begins; zero where the run has no limit.
func (e *Entry) runEnds(a ack.Ack, now time.Time) time.Time {
	switch {
	case a.EndsIn > 0:
		return now.Add(time.Duration(a.EndsIn) * time.Millisecond)
	case e.Command.RunTimeout > 0:
		return now.Add(time.Duration(e.Command.RunTimeout) + RunGrace)
	}
	return time.Time{}
}

// DueAt is when the entry is to be concluded if nothing is heard of it before: as expired, or because its run was to have
// ended. Zero is never.
func (e *Entry) DueAt() time.Time {
	switch {
	case e.State.Settled():
		return time.Time{}
	case !e.State.Stage.Running():
		return e.Command.ExpiresAt
	case e.RunEnds.IsZero():
		return time.Time{}
	}
	return e.RunEnds.Add(RunSlack)
}

// Overrun says whether the entry is to be concluded at now because nothing was heard of the end of its run.
func (e *Entry) Overrun(now time.Time) bool {
	return e.State.Stage.Running() && !e.RunEnds.IsZero() && !now.Before(e.DueAt())
}

// EndRun concludes an entry whose run is over by its limit and of whose end nothing was heard. It is a verdict: the agent's
// own word replaces it.
func (e *Entry) EndRun(now time.Time) {
	e.Conclude(ack.Failed, ack.CodeRunTimeout, fmt.Sprintf("the run was to have ended by %s, and nothing was heard of it", e.RunEnds.UTC().Format(time.RFC3339)), now)
}

// AwaitRun gives the agent until RunSlack after at to say how a run ended that was to end before: until then there was no
// controller to say it to.
func (e *Entry) AwaitRun(at time.Time) {
	if e.RunEnds.Before(at) {
		e.RunEnds = at
		e.Version++
	}
}
