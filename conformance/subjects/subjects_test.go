package subjects_test

import (
	"testing"

	"github.com/miglink/miglink/conformance"
	"github.com/miglink/miglink/conformance/subjects"
)

// What is no transport of its own; those have their tests beside them.
func TestConformance(t *testing.T) {
	for _, s := range []conformance.Subject{subjects.InProcess(), subjects.Fallback(), subjects.Split(), subjects.Relay()} {
		t.Run(s.Name, func(t *testing.T) { conformance.Test(t, s) })
	}
}
