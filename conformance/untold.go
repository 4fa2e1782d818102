package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/miglink/miglink/transport"
)

// untoldTime is how long a dial has that nobody is to answer. One that is let in is answered much sooner.
const untoldTime = 2 * time.Second

// untold is in the report where a subject has the fact Untold and a scenario wanted to hear a code.
const untold = "refused without a word"

// refusedDial wants a dial to be refused with a code. Where refusals are untold, nothing may come of the dial: no link,
// no answer, nothing that was made for it, and nobody who is online by it.
func (w *World) refusedDial(h transport.Hello, want error) {
	if !w.subject.Facts.Untold {
		w.is(w.endOf(h), want, "dial")
		return
	}
	w.nothingComesOf(h.VM, w.countOpened(), func() {
		ctx, cancel := context.WithTimeout(w.ctx, untoldTime)
		defer cancel()
		l, err := w.client.Dial(ctx, h)
		if err == nil {
			l.Close()
			w.fail("the dial is answered with a link")
		}
		said := (*transport.Error)(nil)
		w.check(!errors.As(err, &said), "the dial is answered: %v", err)
	})
}

// nothingComesOf has a hello of a VM said that is refused, and checks that no trace of it is left at the transport, and
// none at the controller. So much was open before it.
func (w *World) nothingComesOf(vm string, before int, say func()) {
	w.note(untold)
	was, known := w.controller.Presence(vm)
	say()
	after := w.countOpened()
	w.check(after <= before, "%d are open after a hello that was refused, %d were before", after, before)
	is, stillKnown := w.controller.Presence(vm)
	w.check(known == stillKnown && is.Instance == was.Instance, "the VM was %+v and is %+v", was, is)
}

// countOpened is how much there is that was made for links.
func (w *World) countOpened() int {
	w.check(w.env.opened != nil, "the subject has the fact Untold, and its Open does not call Env.CountOpened")
	n, err := w.env.opened()
	w.ok(err, "count what is open")
	return n
}

// note is for the report.
func (w *World) note(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = s
}
