package controller

import (
	"context"
	"sync"

	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Receipt stands for one command that is in the ledger.
type Receipt struct {
	c       *Controller
	id      string
	vm      string
	created bool
}

// Receipt returns the receipt of a command that was sent before, also by an earlier process.
func (c *Controller) Receipt(id string) *Receipt { return &Receipt{c: c, id: id} }

// ID is the command's.
func (r *Receipt) ID() string { return r.id }

// VM is where the command was sent; empty for a receipt of Controller.Receipt.
func (r *Receipt) VM() string { return r.vm }

// Created is false where Send found the command in the ledger already, by its ID or its
// idempotency key.
func (r *Receipt) Created() bool { return r.created }

// Wait returns the entry once the command is settled. If ctx ends first, it returns the entry as it
// is and ctx's error: nothing is given up by that, the command goes on.
func (r *Receipt) Wait(ctx context.Context) (ledger.Entry, error) {
	return r.wait(ctx, waitKey{r.id, true}, func(e *ledger.Entry) bool { return e.State.Settled() })
}

// WaitFor is Wait for any condition on the entry.
func (r *Receipt) WaitFor(ctx context.Context, ok func(ledger.Entry) bool) (ledger.Entry, error) {
	return r.wait(ctx, waitKey{r.id, false}, func(e *ledger.Entry) bool { return ok(*e) })
}

func (r *Receipt) wait(ctx context.Context, key waitKey, ok func(*ledger.Entry) bool) (ledger.Entry, error) {
	for {
		change, leave := r.c.waiters.join(key)
		e, err := r.c.Get(ctx, r.id)
		if err != nil || ok(&e) {
			leave()
			return e, err
		}
		select {
		case <-change.made:
			if change.to.State.Settled() && ok(change.to) { // nothing newer can be in the ledger
				return *change.to, nil
			}
		case <-ctx.Done():
			leave()
			return e, context.Cause(ctx)
		case <-r.c.waiters.closed:
			leave()
			return e, transport.Errorf(transport.CodeUnavailable, "the controller is stopping")
		}
	}
}

// waiters wakes those who wait for a command to change.
type waiters struct {
	mu     sync.Mutex
	byKey  map[waitKey]*change
	once   sync.Once
	closed chan struct{}
}

// waitKey is what is waited for: the next change of a command, or its last. Most wait for that, and are
// not to be woken in vain.
type waitKey struct {
	id      string
	settled bool
}

// change is one that some wait for.
type change struct {
	made chan struct{}
	to   *ledger.Entry // once it is made; not to be written to
	n    int           // who wait
}

func (w *waiters) init() {
	w.byKey = map[waitKey]*change{}
	w.closed = make(chan struct{})
}

// join returns the next change after this call.
func (w *waiters) join(key waitKey) (_ *change, leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.byKey[key]
	if c == nil {
		c = &change{made: make(chan struct{})}
		w.byKey[key] = c
	}
	c.n++
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if c.n--; c.n == 0 && w.byKey[key] == c {
			delete(w.byKey, key)
		}
	}
}

func (w *waiters) wake(e *ledger.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.make(waitKey{e.Command.ID, false}, e)
	if e.State.Settled() {
		w.make(waitKey{e.Command.ID, true}, e)
	}
}

// make makes a change, if somebody waits for it. mu is locked.
func (w *waiters) make(key waitKey, e *ledger.Entry) {
	c := w.byKey[key]
	if c == nil {
		return
	}
	to := *e // callers go on with theirs
	c.to = &to
	close(c.made)
	delete(w.byKey, key)
}

func (w *waiters) close() { w.once.Do(func() { close(w.closed) }) }
