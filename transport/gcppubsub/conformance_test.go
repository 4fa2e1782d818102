package gcppubsub_test

import (
	"testing"

	"github.com/miglink/miglink/conformance"
	"github.com/miglink/miglink/conformance/subjects"
)

// The whole suite, which counts goroutines and so runs by itself.
func TestConformance(t *testing.T) { conformance.Test(t, subjects.GCPPubSub()) }
