package ledger

import (
	"fmt"
	"time"

	"github.com/miglink/miglink/ack"
)

// Codes of verdicts on commands that nobody has answered.
const (
	CodeExhausted     ack.Code = "exhausted"     // it arrived as often as allowed, and was never answered
	CodeUndeliverable ack.Code = "undeliverable" // its delivery has ended as many links that worked
)

// Unheard is what has come of the deliveries of a command since its agent last spoke of it. It is never written to.
type Unheard struct {
	Silent int    `json:"silent,omitempty"` // arrived, and were not answered in time, though the agent could have
	Missed int    `json:"missed,omitempty"` // did not arrive, since one last has
	Ended  int    `json:"ended,omitempty"`  // of those: each over a link that had passed something, which ended then
	Via    string `json:"via,omitempty"`    // the path of the latest of these, as in transport.Hello.Via
}

func (e *Entry) unheard() Unheard {
	if e.Unheard == nil {
		return Unheard{}
	}
	return *e.Unheard
}

func (e *Entry) setUnheard(u Unheard) {
	if e.State.Settled() || u == e.unheard() {
		return
	}
	e.Unheard = &u
	if u == (Unheard{}) {
		e.Unheard = nil
	}
	e.Version++
}

// Unanswered notes that n deliveries have arrived, and that none of them was answered in the time that each had for it.
func (e *Entry) Unanswered(n int) {
	e.setUnheard(Unheard{Silent: e.unheard().Silent + n})
}

// Arrived notes that a delivery has arrived, which may be answered yet.
func (e *Entry) Arrived() { e.Unanswered(0) }

// Missed notes that a delivery did not arrive. To blame says that the way is not: the link had passed something, and ended
// when it was to pass this.
func (e *Entry) Missed(toBlame bool, via string) {
	u := e.unheard()
	u.Missed++
	if toBlame {
		u.Ended++
		u.Via = via
	}
	e.setUnheard(u)
}

// Misses is how many deliveries in a row did not arrive.
func (e *Entry) Misses() int { return e.unheard().Missed }

// Hopeless returns the code with which a command is to be given up in place of one more delivery, or none: of what may be
// most, it has arrived so often and was not answered, or has ended so many links. What has started, or was deferred, is
// never given up for either.
func (e *Entry) Hopeless(most int) ack.Code {
	s, u := e.State, e.unheard()
	switch {
	case s.Settled() || s.Stage.Running() || s.Stage == ack.Deferred || s.Round > 0:
		return ""
	case u.Silent >= most:
		return CodeExhausted
	case u.Ended >= most:
		return CodeUndeliverable
	}
	return ""
}

// GiveUp concludes a command that is hopeless.
func (e *Entry) GiveUp(most int, now time.Time) {
	switch code := e.Hopeless(most); code {
	case CodeExhausted:
		e.Conclude(ack.Dead, code, fmt.Sprintf("delivered %d times without an answer", e.unheard().Silent), now)
	case CodeUndeliverable:
		e.Conclude(ack.Dead, code, fmt.Sprintf("it did not arrive, and %d links over %s that worked have ended when it was sent: the command has %d bytes of parameters; something on that path may not let so many pass",
			e.unheard().Ended, path(e.unheard().Via), len(e.Command.Parameters)), now)
	}
}

func path(via string) string {
	if via == "" {
		return "no network"
	}
	return via
}
