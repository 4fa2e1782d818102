package longpoll

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
)

// errParked is of a poll that goes on elsewhere.
var errParked = errors.New("longpoll: the poll is parked")

// park has a poll that nothing has come for go on without its goroutine, and what net/http keeps for a connection
// and a request, where the link says when something is due.
func (h *handler) park(w http.ResponseWriter, r *http.Request, link transport.Link, grant transport.Grant, p page, until time.Time) bool {
	pusher, ok := link.(transport.Pusher)
	if !ok {
		return false
	}
	b, ok := httplink.Borrow(w, r)
	if !ok {
		return false
	}
	p.VM, p.Cursor = strings.Clone(p.VM), transport.Cursor(strings.Clone(string(p.Cursor))) // they are parts of the request
	go h.hold(b, pusher, grant, p, until)
	return true
}

// hold waits for commands, and answers.
func (h *handler) hold(b *httplink.Borrowed, link transport.Pusher, grant transport.Grant, p page, until time.Time) {
	defer link.Close() // of one that has ended after the answer, for which whoever ended it waits
	if err := safely.Do(func() error { h.await(b, link, grant, p, until); return nil }); err != nil {
		b.Close()
		h.log.Ended(h.ctx, p.VM, err)
	}
}

// await is hold, in which a panic ends this poll alone.
func (h *handler) await(b *httplink.Borrowed, link transport.Pusher, grant transport.Grant, p page, until time.Time) {
	ctx, cancel := grant.Context(h.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, b.Interrupt)()
	late := time.AfterFunc(time.Until(until), b.Interrupt)
	defer late.Stop()
	link.Push(func(bool) { b.Interrupt() })
	for {
		if b.Wait() {
			b.Close()
			return
		}
		b.Again() // before looking, or what comes after that would not be seen
		commands, err := link.Take(nil)
		p.put(commands)
		switch {
		case err == nil && len(commands) > 0:
		case h.ctx.Err() != nil:
			err = transport.Errorf(transport.CodeUnavailable, "the server is stopping")
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case err == nil && time.Now().Before(until):
			continue
		}
		if err == nil {
			link.Close()
		}
		h.answer(b, p, err)
		b.Answer(writeTimeout, err != nil)
		return
	}
}
