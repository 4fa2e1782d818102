package overbrokers

import (
	"testing"

	"github.com/miglink/miglink/conformance"
	"github.com/miglink/miglink/conformance/subjects"
)

func TestConformance(t *testing.T) {
	for _, s := range []conformance.Subject{subjects.NATS(), subjects.Redis(), subjects.GCPPubSub()} {
		t.Run(s.Name, func(t *testing.T) { conformance.Test(t, s) })
	}
}
