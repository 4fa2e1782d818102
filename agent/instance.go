package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
)

// dials is what a process remembers of its dials.
type dials struct {
	announced string    // the instance of which the controller has heard after its welcome
	replaced  time.Time // when a link was last replaced under that instance; zero: none was
}

// arrivesWithin is how long a dial that was given up may be on its way.
const arrivesWithin = time.Minute

// replaced is what follows where another link of the same instance has taken the place of this one. Once that may be a dial
// that was given up, of this process or of one before it that had the same name, and arrived late. Twice it is another
// process with the same instance, and they would replace each other for ever: this one takes a new name. The newer name wins,
// and the other process is told to stop.
func (a *Agent) replaced(ctx context.Context, d *dials) {
	if now := time.Now(); d.replaced.IsZero() || now.Sub(d.replaced) > arrivesWithin {
		d.replaced = now
		return
	}
	d.replaced = time.Time{}
	a.mu.Lock()
	old := a.instance
	a.instance = uuid.Must(uuid.NewV7()).String()
	now := a.instance
	a.mu.Unlock()
	a.peers.Write(ctx, slog.LevelWarn, "another process uses this agent's instance, as after its VM was cloned; the agent goes on under a new one", "",
		slog.String("instance", now), slog.String("before", old))
}
