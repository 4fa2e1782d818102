package broker

import (
	"context"
	"log/slog"
	"time"
)

const (
	// TrialSize is far larger than any frame, in bytes, and than what the transports' documentation recommends as a limit.
	// A broker that takes a message of it takes it from a VM, too.
	TrialSize = 5 << 20

	// trialTime bounds a trial, whatever the broker does.
	trialTime = 20 * time.Second
)

// Trial is a message of TrialSize bytes. It is a variable so that it takes none of the heap.
var Trial [TrialSize]byte

// TryLimit finds out, once and beside everything else, whether the broker takes a message of TrialSize bytes, and says so
// in the log, with the setting that ends it: all VMs share the broker, and what one sends that is too large is held by the
// broker, and read by the controller, at the cost of the others. What try does, on a connection of its own, ends with its
// context. That it failed is no reason to fail.
func (s *Server) TryLimit(remedy string, try func(ctx context.Context) (taken bool, err error)) {
	s.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, trialTime)
		defer cancel()
		switch taken, err := try(ctx); {
		case err != nil:
			s.Log.Debug("cannot tell how large a message the broker takes", "error", err)
		case taken:
			s.TakesTooMuch(TrialSize, remedy)
		}
	})
}

// TakesTooMuch says that a broker takes messages of so many bytes.
func (s *Server) TakesTooMuch(bytes int, remedy string) {
	s.Log.Warn("the broker takes messages that are far larger than any frame: one VM can harm all others with them",
		slog.Int("bytes", bytes), slog.Int("largest_frame", MaxFrame), slog.String("remedy", remedy))
}
