package subjects_test

import (
	"testing"

	"github.com/miglink/miglink/conformance"
	"github.com/miglink/miglink/conformance/subjects"
)

// What is no transport of its own, and ledgers on a disk. For those over HTTP, and over brokers, see internal/suites:
// they run beside these. What needs a server has its test beside its transport.
func TestConformance(t *testing.T) {
	for _, s := range []conformance.Subject{
		subjects.InProcess(), subjects.Fallback(), subjects.Split(), subjects.Relay(),
		subjects.OnBolt(subjects.WebSocket()), subjects.OnBolt(subjects.LongPoll()),
	} {
		t.Run(s.Name, func(t *testing.T) { conformance.Test(t, s) })
	}
}
