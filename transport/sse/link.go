package sse

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/uplink"
)

const (
	maxEvent = 2*command.MaxParameters + 16<<10 // bytes; JSON of any parameters that fit
	ahead    = 16                               // deliveries read before they are asked for
)

var errSilent = errors.New("sse: nothing was heard of the controller for too long")

// link reads commands from a stream; acks and events go by the uplink.
type link struct {
	up     *uplink.Link
	ctx    context.Context // ends with the link; its cause says why
	cancel context.CancelCauseFunc

	keepalive time.Duration

	body     io.ReadCloser
	in       *bufio.Reader
	patience time.Duration // for the next byte

	deliveries chan transport.Delivery
	lastUp     atomic.Int64 // when the controller heard of the VM last, in Unix nanoseconds
	running    sync.WaitGroup
}

func newLink(up *uplink.Link, keepalive time.Duration) *link {
	l := &link{up: up, keepalive: keepalive, deliveries: make(chan transport.Delivery, ahead)}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

func (l *link) start() {
	l.lastUp.Store(time.Now().UnixNano())
	l.running.Go(l.read)
	l.running.Go(l.keepAlive)
}

// watched reads the body and ends the link when no byte comes in time, comments included. It does
// not count the time in which nobody reads.
type watched struct{ l *link }

func (w *watched) Read(b []byte) (int, error) {
	timer := time.AfterFunc(w.l.patience, func() { w.l.cancel(errSilent) })
	defer timer.Stop()
	return w.l.body.Read(b)
}

// read hands on what comes until the stream ends.
func (l *link) read() {
	defer l.body.Close()
	for e, err := range sse.Read(l.in, &sse.ReadConfig{MaxEventSize: maxEvent}) {
		if err != nil {
			l.cancel(fmt.Errorf("sse: %w", err))
			return
		}
		if err := l.handle(e); err != nil {
			l.cancel(err)
			return
		}
	}
	l.cancel(errors.New("sse: the stream ended"))
}

func (l *link) handle(e sse.Event) error {
	switch e.Type {
	case "command":
		d, err := decodeCommand(e)
		if err != nil {
			return err
		}
		select {
		case l.deliveries <- d:
			return nil
		case <-l.ctx.Done():
			return l.ctx.Err()
		}
	case "close":
		var c closing
		if err := json.Unmarshal([]byte(e.Data), &c); err != nil || c.Code == "" || c.RetryAfter < 0 || c.RetryAfter > 1e9 {
			return errors.New("sse: the controller closed the stream, and its reason does not decode")
		}
		return &transport.Error{Code: c.Code, Message: c.Message, RetryAfter: time.Duration(c.RetryAfter * float64(time.Second))}
	}
	return nil // of a later version
}

func decodeCommand(e sse.Event) (transport.Delivery, error) {
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

// keepAlive keeps the promise of Hello.Alive where nothing else goes up.
func (l *link) keepAlive() {
	wait := l.keepalive
	for {
		timer := time.NewTimer(wait)
		select {
		case <-l.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if since := time.Since(time.Unix(0, l.lastUp.Load())); since < l.keepalive {
			wait = l.keepalive - since
			continue
		}
		wait = l.keepalive
		if err := l.Report(l.ctx); err != nil {
			l.cancel(err)
			return
		}
	}
}

func (l *link) Receive(ctx context.Context) ([]transport.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var page []transport.Delivery
	select {
	case d := <-l.deliveries:
		page = append(page, d)
	default:
		select {
		case d := <-l.deliveries:
			page = append(page, d)
		case <-l.ctx.Done():
			return nil, context.Cause(l.ctx)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for {
		select {
		case d := <-l.deliveries:
			page = append(page, d)
		default:
			return page, nil
		}
	}
}

func (l *link) Ack(ctx context.Context, acks ...ack.Ack) error {
	err := l.up.Ack(ctx, acks...)
	return l.sent(ctx, err)
}

func (l *link) Report(ctx context.Context, events ...event.Event) error {
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
	l.running.Wait()
	return l.up.Close()
}
