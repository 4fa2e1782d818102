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
	return r.WaitFor(ctx, func(e ledger.Entry) bool { return e.State.Settled() })
}

// WaitFor is Wait for any condition on the entry.
func (r *Receipt) WaitFor(ctx context.Context, ok func(ledger.Entry) bool) (ledger.Entry, error) {
	for {
		changed, leave := r.c.waiters.join(r.id)
		e, err := r.c.Get(ctx, r.id)
		if err != nil || ok(e) {
			leave()
			return e, err
		}
		select {
		case <-changed:
			leave()
		case <-ctx.Done():
			leave()
			return e, context.Cause(ctx)
		case <-r.c.waiters.closed:
			leave()
			return e, transport.Errorf(transport.CodeUnavailable, "the controller is stopping")
		}
	}
}

// waiters wakes those who wait for a command to change. They read its state themselves.
type waiters struct {
	mu     sync.Mutex
	byID   map[string]*waitGroup
	once   sync.Once
	closed chan struct{}
}

type waitGroup struct {
	changed chan struct{}
	n       int
}

func (w *waiters) init() {
	w.byID = map[string]*waitGroup{}
	w.closed = make(chan struct{})
}

// join returns a channel that is closed at the next change after this call.
func (w *waiters) join(id string) (changed <-chan struct{}, leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.byID[id]
	if g == nil {
		g = &waitGroup{changed: make(chan struct{})}
		w.byID[id] = g
	}
	g.n++
	return g.changed, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if g.n--; g.n == 0 && w.byID[id] == g {
			delete(w.byID, id)
		}
	}
}

func (w *waiters) wake(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if g := w.byID[id]; g != nil {
		close(g.changed)
		delete(w.byID, id)
	}
}

func (w *waiters) close() { w.once.Do(func() { close(w.closed) }) }
