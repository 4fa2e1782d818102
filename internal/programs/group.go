package programs

import (
	"context"
	"time"
)

// Bounds of the time between two looks at a group that is to end.
const (
	firstLook = 5 * time.Millisecond
	lastLook  = 250 * time.Millisecond
)

// end asks all processes of the group to end, kills those that are left after grace, and returns when there is none, or ctx ends.
func (g *group) end(ctx context.Context, grace time.Duration) error {
	if !g.ask() {
		grace = 0
	}
	killAt := time.Now().Add(grace)
	look := time.NewTimer(0)
	defer look.Stop()
	for pause := firstLook; g.alive(); pause = min(2*pause, lastLook) {
		left := time.Until(killAt)
		if left <= 0 { // again each time: one may have been started meanwhile
			g.kill()
			left = lastLook
		}
		look.Reset(min(pause, left))
		select {
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
