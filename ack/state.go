package ack

// State is what is known of a command. The zero value is a command that is queued.
type State struct {
	Stage   Stage `json:"stage"`
	Attempt int   `json:"attempt,omitempty"` // the latest delivery; 0 is none yet

	// Round is the first attempt of the present round. A deferral ends a round; the next attempt that the agent knows of, which
	// may be one that was delivered before, begins another, in which the stages are gone through again.
	Round int `json:"round,omitempty"`

	// Verdict is set where a final stage is the controller's own conclusion (expired, superseded,
	// dead, cancelled before it was delivered) and not the agent's word. Should the agent have run
	// the command all the same, its word replaces the verdict: what happened is what happened.
	Verdict bool `json:"verdict,omitempty"`

	// Abandoned is set where the agent has said failed, with CodeRunTimeout: its handler may not have returned. Should the
	// agent say later what it has come to, that replaces this one, as it does a verdict.
	Abandoned bool `json:"abandoned,omitempty"`
}

// Settled says whether the command needs no more deliveries.
func (s State) Settled() bool { return s.Stage.Final() }

// Merge adds the agent's word to what is known and says whether that changed anything.
//
// States are ordered by round, then by stage, then a verdict, then a run that the agent has abandoned, then any other final
// stage said by the agent; Deferred is the first stage of the next round. The result is never lower than s. Of two final stages
// the first stays. That a start was refused does not replace the end for which it was. Merge is idempotent, but for progress,
// each of which counts.
func (s State) Merge(a Ack) (State, bool) {
	attempt := a.Attempt
	if attempt == 0 {
		attempt = s.Attempt
	}
	next := s
	next.Attempt = max(attempt, s.Attempt)
	switch {
	case a.Stage.Final():
		open := !s.Settled() || s.Verdict || s.Abandoned && !a.Abandons()
		if !open || s.Settled() && a.Code == CodeRefused {
			return s, false
		}
		next.Stage, next.Verdict, next.Abandoned = a.Stage, false, a.Abandons()
		return next, true
	case s.Settled() || attempt < s.Round:
		return s, false
	case a.Stage == Deferred:
		next.Stage, next.Round = Deferred, attempt+1
		return next, true
	case s.Stage == Deferred:
		next.Stage, next.Round = a.Stage, attempt
		return next, true
	case a.Stage.rank() > s.Stage.rank() || a.Stage == Progress && s.Stage == Progress:
		next.Stage = a.Stage
		return next, true
	}
	return next, next != s
}

// Conclude settles a command by the controller's own verdict, unless it is settled already.
func (s State) Conclude(stage Stage) (State, bool) {
	if s.Settled() {
		return s, false
	}
	s.Stage, s.Verdict = stage, true
	return s, true
}

// Deliver notes that attempt n was handed to a link. A redelivery asks after a command, it does not
// undo what the agent has said of it, but for a deferral.
func (s State) Deliver(n int) (State, bool) {
	if s.Settled() || n <= s.Attempt {
		return s, false
	}
	s.Attempt = n
	switch s.Stage {
	case "", Queued, Deferred:
		s.Stage = Delivered
	}
	return s, true
}
