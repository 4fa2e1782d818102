package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/document"
	"github.com/miglink/miglink/internal/inbox"
	"github.com/miglink/miglink/transport"
)

// The pause before a POST is sent again that something in between has answered is random, below a bound that doubles.
const (
	firstPause   = time.Second
	longestPause = 30 * time.Second
)

// persist calls post until the controller answers, or what is in between says that the POST is too large. Whoever is in
// between knows nothing of what was sent, and to end the link, whose commands come another way, would help nobody.
func (l *Link) persist(ctx context.Context, post func() error) error {
	for bound := firstPause; ; bound = min(2*bound, longestPause) {
		err := post()
		var foreign *transport.ForeignError
		if !errors.As(err, &foreign) || tooLarge(err) {
			return err
		}
		pause := max(bound/2+rand.N(bound/2), foreign.RetryAfter)
		l.t.log.Write(ctx, slog.LevelWarn, "a POST was not answered by the controller", "",
			slog.Any("error", err), slog.Duration("retry_in", pause.Round(time.Millisecond)))
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// tooLarge says whether something in between has a lower limit of size than the controller.
func tooLarge(err error) bool {
	var foreign *transport.ForeignError
	return errors.As(err, &foreign) && foreign.Status == http.StatusRequestEntityTooLarge
}

// record has acks recorded: by one POST or, where something in between does not let one of that size pass, by several.
// An ack that is too large by itself goes without its result.
func (l *Link) record(acks []ack.Ack) error {
	err := l.persist(l.ctx, func() error { return l.postAcks(acks) })
	switch {
	case !tooLarge(err):
		return err
	case len(acks) == 1:
		short := []ack.Ack{shorten(acks[0], err)}
		return l.persist(l.ctx, func() error { return l.postAcks(short) })
	}
	half := len(acks) / 2
	var all error
	parts := inbox.Parts{Done: func(err error) { all = err }}
	parts.Answer(l.record(acks[:half]), half, false)
	parts.Answer(l.record(acks[half:]), len(acks)-half, true)
	return all
}

// maxKept is how much of a reason is kept where something in between does not let an ack pass, in bytes.
const maxKept = 200

// shorten returns an ack with the beginning of its reason and without its result, which says so.
func shorten(a ack.Ack, why error) ack.Ack {
	note := fmt.Sprintf("left out on the way: a result of %d bytes, and of the reason's %d bytes what is beyond %d: %s", len(a.Result), len(a.Reason), maxKept, why)
	if said := document.Mend(a.Reason, maxKept); said != "" {
		note = said + " (" + note + ")"
	}
	a.Result, a.Reason = nil, note
	return a
}
