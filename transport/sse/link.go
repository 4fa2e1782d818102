package sse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/inbox"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/uplink"
)

var errSilent = fmt.Errorf("sse: %w", transport.ErrSilent)

// link reads commands from a stream; acks and events go by the uplink.
type link struct {
	up     *uplink.Link
	client *http.Client    // whose idle connections end with the link; nil: somebody else's
	ctx    context.Context // ends with the link; its cause says why
	cancel context.CancelCauseFunc
	in     inbox.Inbox

	keepalive time.Duration

	body     io.ReadCloser
	events   events
	broken   error         // why no more is read
	patience time.Duration // for the next byte
	started  bool          // the stream has begun
	late     *time.Timer

	proven  atomic.Bool                      // something has come after the beginning of the stream
	cursor  atomic.Pointer[transport.Cursor] // of the latest command; nil: none has come
	lastUp  atomic.Int64                     // when the controller heard of the VM last, in Unix nanoseconds
	running sync.WaitGroup
}

func newLink(up *uplink.Link, keepalive time.Duration) *link {
	l := &link{up: up, keepalive: keepalive, patience: preambleTime}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

// listen is to be called before anything is read of the body.
func (l *link) listen(body io.ReadCloser) {
	l.body, l.events.from = body, &watched{l: l}
	l.late = time.AfterFunc(time.Hour, func() { l.cancel(errSilent) })
	l.late.Stop()
}

func (l *link) start(window int) {
	l.patience, l.started = 2*l.keepalive, true
	l.in.Open(window, l.next, l.over)
	l.lastUp.Store(time.Now().UnixNano())
	l.running.Go(l.keepAlive)
}

// watched reads the body and ends the link when no byte comes in time, comments included. It does
// not count the time in which nobody reads.
type watched struct{ l *link }

func (w *watched) Read(b []byte) (int, error) {
	w.l.late.Reset(w.l.patience)
	defer w.l.late.Stop()
	n, err := w.l.body.Read(b)
	if n > 0 && w.l.started {
		w.l.proven.Store(true)
	}
	return n, err
}

// Proven implements transport.Prover.
func (l *link) Proven() bool { return l.proven.Load() }

// next waits for events, and returns the commands among them. What came before an error counts.
func (l *link) next() ([]transport.Delivery, error) {
	if l.broken != nil {
		return nil, l.broken
	}
	all, err := l.events.next()
	switch {
	case errors.Is(err, io.EOF):
		err = errors.New("sse: the stream ended")
	case err != nil:
		err = fmt.Errorf("sse: %w", err)
	}
	page := make([]transport.Delivery, 0, len(all))
	for i := 0; i < len(all) && err == nil; i++ {
		page, err = l.add(page, &all[i])
	}
	if len(page) > 0 {
		at := page[len(page)-1].Cursor
		l.cursor.Store(&at)
		l.broken = err // to be said next time
		return page, nil
	}
	return nil, err
}

// over is the end of reading.
func (l *link) over(err error) {
	l.cancel(err)
	l.body.Close()
}

// add adds the command of an event to a page.
func (l *link) add(page []transport.Delivery, e *sse.Event) ([]transport.Delivery, error) {
	switch e.Type {
	case "command":
		d, err := decodeCommand(e)
		if err != nil {
			return page, err
		}
		return append(page, d), nil
	case "close":
		var c closing
		if err := json.Unmarshal([]byte(e.Data), &c); err != nil || c.Code == "" || c.RetryAfter < 0 || c.RetryAfter > 1e9 {
			return page, errors.New("sse: the controller closed the stream, and its reason does not decode")
		}
		return page, transport.PeerError(c.Code, c.Message, c.RetryAfter)
	}
	return page, nil // of a later version
}

func decodeCommand(e *sse.Event) (transport.Delivery, error) {
	var d transport.Delivery
	if err := wire.Read([]byte(e.Data), func(r *wire.Reader) { wire.ReadDelivery(r, &d) }); err != nil {
		return d, errors.New("sse: a command does not decode")
	}
	d.Cursor = transport.Cursor(e.LastEventID)
	if err := d.Validate(); err != nil {
		return d, fmt.Errorf("sse: %w", err)
	}
	return d, nil
}

// quiet is for how long nothing has gone up when a sign of life that is due does: after it the controller keeps less of
// the connection. The first is due at once.
const quiet = 2 * time.Second

// keepAlive keeps the promise of Hello.Alive where nothing else goes up.
func (l *link) keepAlive() {
	calm := min(quiet, l.keepalive)
	for wait := calm; ; {
		timer := time.NewTimer(wait)
		select {
		case <-l.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if since := time.Since(time.Unix(0, l.lastUp.Load())); since < calm {
			wait = calm - since
			continue
		}
		wait = l.keepalive
		l.in.Begin()
		err := l.up.SignOfLife(l.ctx, l.came())
		if l.foreign(err) {
			wait = max(calm, transport.RetryAfter(err))
			continue
		}
		if err := l.sent(l.ctx, err); err != nil {
			l.cancel(err)
			return
		}
	}
}

// came is the cursor of the latest command, or nil where nothing has come after the beginning of the stream.
func (l *link) came() *transport.Cursor {
	if !l.Proven() {
		return nil
	}
	if at := l.cursor.Load(); at != nil {
		return at
	}
	return new(transport.Cursor)
}

// foreign says whether something in between has answered, but not for so long that the controller must take the VM for
// dead.
func (l *link) foreign(err error) bool {
	silence := time.Since(time.Unix(0, l.lastUp.Load()))
	return errors.As(err, new(*transport.ForeignError)) && silence < 2*l.keepalive
}

func (l *link) Receive(ctx context.Context) ([]transport.Delivery, error) {
	return l.in.Receive(ctx, l.ctx.Done(), func() error { return context.Cause(l.ctx) })
}

// Unsaid implements transport.Voucher.
func (l *link) Unsaid(others func() bool) { l.up.Unsaid(others) }

// Deliver implements transport.Direct.
func (l *link) Deliver(take func([]transport.Delivery)) { l.in.Deliver(take) }

// ReadOn implements transport.Direct.
func (l *link) ReadOn() { l.in.ReadOn() }

func (l *link) Ack(ctx context.Context, acks ...ack.Ack) error {
	l.in.Begin()
	err := l.up.Ack(ctx, acks...)
	return l.sent(ctx, err)
}

// Post implements transport.Direct.
func (l *link) Post(acks []ack.Ack, done func(error)) {
	l.in.Begin()
	l.up.Post(acks, func(err error) { done(l.sent(l.ctx, err)) })
}

func (l *link) Report(ctx context.Context, events ...event.Event) error {
	l.in.Begin()
	err := l.up.Report(ctx, events...)
	return l.sent(ctx, err)
}

// sent notes a sign of life that arrived, and ends the link where it cannot tell.
func (l *link) sent(ctx context.Context, err error) error {
	switch {
	case err == nil || transport.Refused(err):
		l.lastUp.Store(time.Now().UnixNano())
	case ctx.Err() == nil:
		l.cancel(err)
	}
	return err
}

func (l *link) Close() error {
	l.cancel(transport.ErrClosed)
	l.in.End()
	l.running.Wait()
	err := l.up.Close()
	if l.client != nil { // one that rests outlives a server that only stops to listen
		l.client.CloseIdleConnections()
	}
	return err
}
