package controller

import (
	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/ledger"
)

// noteDisk takes note of whether the VM's agent can journal, as its latest word on a command shows: what it cannot journal it
// defers, and what it has received or started it has journalled. mu is locked.
func (b *mailbox) noteDisk(e *ledger.Entry) {
	switch stage := e.State.Stage; {
	case stage == ack.Deferred && e.Code == ack.CodeNoDisk:
		b.noDisk = true
	case stage == ack.Received, stage == ack.Started:
		b.noDisk = false
	}
}
