package agent

import (
	"fmt"
	"time"

	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
)

// told is what a controller was told last of abandoned runs, over which link.
type told struct {
	abandoned int
	link      transport.Link
	telling   bool // a goroutine sees to it
}

// tellAbandoned has the controller told how many runs are abandoned, where it may not know. mu is locked.
func (a *Agent) tellAbandoned() {
	if a.told.telling || a.knowsAbandoned() {
		return
	}
	a.told.telling = true
	a.work(a.reportAbandoned)
}

// knowsAbandoned says whether the controller knows how many runs are abandoned. At the end of another link there may be
// another controller. mu is locked.
func (a *Agent) knowsAbandoned() bool {
	return a.abandoned == a.told.abandoned && (a.abandoned == 0 || a.link == a.told.link)
}

func (a *Agent) reportAbandoned() {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { a.told.telling = false }()
	for !a.knowsAbandoned() {
		n, link := a.abandoned, a.link
		a.mu.Unlock()
		err := a.Report(a.handling, event.Event{
			Type: event.RunsAbandoned, Timestamp: time.Now().UTC(), Metadata: fmt.Appendf(nil, `{"count":%d}`, n),
		})
		a.mu.Lock()
		if err != nil && !transport.Refused(err) { // the agent stops
			return
		}
		if err != nil {
			a.log.Warn("the controller did not take how many runs are abandoned", "error", err)
		}
		if link == a.link {
			a.told.abandoned, a.told.link = n, a.link
		}
	}
}
