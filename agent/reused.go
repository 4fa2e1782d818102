package agent

import (
	"fmt"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
)

// CodeIDReused goes with rejected where the agent has had another command of the same ID, which was created at another time:
// it remembers IDs for longer than a controller may, and a ledger may be lost.
const CodeIDReused ack.Code = "id_reused"

// linked is called for each link that was opened. The controller may be another, or have lost its ledger: what is said of
// commands that came by earlier links says which they are, since others may have their IDs by now.
func (a *Agent) linked() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.links++
	a.out.stamp(a.done.created)
}

func stamped(final *ack.Ack, created time.Time) *ack.Ack {
	if !command.Exact(created) {
		return final
	}
	own := *final
	own.CreatedAt = created
	return &own
}

// rejectReused rejects a command whose ID is another's, of which came is what became. What is remembered, or held, of the other stays.
// mu is locked.
func (a *Agent) rejectReused(d *transport.Delivery, created time.Time, came string) {
	a.out.putFinal(&ack.Ack{
		CommandID: d.ID, Stage: ack.Rejected, Attempt: d.Attempt, Time: time.Now().UTC(), Code: CodeIDReused, CreatedAt: d.CreatedAt,
		Reason: reasonOf(fmt.Sprintf("this agent has had another command of this ID, which was created at %s and %s: send it under an ID of its own", created.Format(time.RFC3339Nano), came)),
	}, nil)
}
