package admin

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// desk is the controller as one operator may use it, for one request. An endpoint has nothing else, so that
// whatever it does is allowed by a grant and on record.
type desk struct {
	h         *handler
	op        Operator
	anonymous bool // no good credentials were shown
	remote    string
	action    Action
	recorded  bool
}

// denial is an error for want of a grant. What is told may be less.
type denial struct{ told *transport.Error }

func (d denial) Error() string { return d.told.Error() }
func (d denial) Unwrap() error { return d.told }

func needs(g Grant) error {
	return denial{transport.Errorf(transport.CodeForbidden, "this needs the grant %s", g)}
}

// hidden is the answer for what an operator may not know to be there.
func hidden() error { return denial{unknownCommand()} }

func unknownCommand() *transport.Error {
	return transport.Errorf(transport.CodeUnknownCommand, "there is no such command")
}

// record records what was made of a request. The error is nil but for what has to be on record first.
func (d *desk) record(ctx context.Context, r Record, err error) error {
	d.recorded = true
	r.Time, r.Operator, r.Remote, r.Action, r.Decision = time.Now().UTC(), d.op.Name, d.remote, d.action, Allowed
	if err != nil {
		r.Decision, r.Code = Failed, transport.AsError(err).Code
		if errors.As(err, new(denial)) {
			r.Decision = Denied
		}
	}
	if d.h.o.Audit == nil {
		return nil
	}
	r.bound()
	if !r.changes() {
		var ok bool
		if r.Missed, ok = d.h.quota.take(d.anonymous, r.Operator, r.Time); !ok {
			return nil
		}
	}
	if failed := d.h.o.Audit.Record(ctx, r); failed != nil {
		d.h.log.Write(ctx, slog.LevelError, "cannot record what an operator asked for", "", slog.String("component", "admin"), slog.String("operator", r.Operator),
			slog.String("action", string(r.Action)), slog.String("command_id", r.CommandID), slog.String("decision", string(r.Decision)), slog.Any("error", failed))
		if r.Action.Changes() {
			return &transport.Error{Code: transport.CodeUnavailable, Message: "the audit cannot be written, and nothing is done without", RetryAfter: time.Second}
		}
	}
	return nil
}

// look records a request that changes nothing, and returns its error.
func (d *desk) look(ctx context.Context, r Record, err error) error {
	_ = d.record(ctx, r, err)
	return err
}

// change does what changes something, if err is nil, and after it is on record. If it fails that is recorded, too.
func (d *desk) change(ctx context.Context, r Record, err error, do func() error) error {
	if err == nil {
		// What is allowed is recorded before anybody knows whether it will change something: who has had much recorded in
		// vain has to wait, or the disk could be filled by saying one thing again and again.
		if wait := d.h.quota.owes(d.op.Name, time.Now()); wait > 0 {
			err = &transport.Error{Code: transport.CodeRateLimited, RetryAfter: wait, Message: "too much of what you have asked for changed nothing"}
		}
	}
	if kept := d.record(ctx, r, err); err != nil || kept != nil {
		return errors.Join(err, kept)
	}
	if err = do(); err != nil {
		d.vain(&r)
		_ = d.record(context.WithoutCancel(ctx), r, err)
	}
	return err
}

// vain counts the record of what was allowed, and has changed nothing.
func (d *desk) vain(r *Record) {
	size := 512 + len(r.Parameters) + len(r.VM) + len(r.CommandID) + len(r.IdempotencyKey) + len(r.Supersede) + len(r.Target)
	d.h.quota.spend(d.op.Name, size, time.Now())
}

// Send needs a grant to send, and those for what the command ends: by its supersede key, or as a cancel.
func (d *desk) Send(ctx context.Context, vm string, cmd command.Command, ownID bool) (Status, error) {
	s, err := newSending(vm, cmd, ownID)
	r := d.recordOf(s)
	if err == nil {
		err = d.maySend(ctx, s)
	}
	var receipt *controller.Receipt
	err = d.change(ctx, r, err, func() (err error) {
		receipt, err = d.h.c.SendGuarded(ctx, vm, s.cmd, d.guard(s))
		return err
	})
	if err != nil {
		return Status{}, err
	}
	if !receipt.Created() {
		d.vain(&r)
	}
	d.recordOutcome(ctx, r, receipt)
	e, err := d.h.c.Get(ctx, receipt.ID())
	if err != nil {
		return Status{}, err
	}
	status, created := d.told(e), receipt.Created()
	status.Created = &created
	if d.op.may(VerbRead, vm, s.cmd.Type) {
		if known, err := d.h.c.Known(ctx, vm); err == nil { // it was queued: this is no reason to fail
			status.VMKnown = &known
		}
	}
	return status, nil
}

// recordOf is the record of a send that is to be.
func (d *desk) recordOf(s sending) Record {
	r := Record{
		VM: s.vm, Type: s.cmd.Type, CommandID: s.cmd.ID, OwnID: s.ownID, Size: len(s.cmd.Parameters), IdempotencyKey: s.cmd.IdempotencyKey,
		Supersede: s.cmd.SupersedeKey, Urgent: s.cmd.Urgent, TTL: command.Duration(s.cmd.TTL),
		RunTimeout: command.Duration(s.cmd.RunTimeout), Target: s.ends,
	}
	var p command.Parameters
	if err := safely.Do(func() error { p = d.h.o.Redact(s.cmd.Type, s.cmd.Parameters); return nil }); err == nil && len(p) <= maxParameters {
		r.Parameters = p
	}
	return r
}

// recordOutcome records what only the ledger could tell: that the command was there, or which ones it has ended. It is
// done by then, so that it cannot be recorded is for the log.
func (d *desk) recordOutcome(ctx context.Context, r Record, receipt *controller.Receipt) {
	ctx = context.WithoutCancel(ctx) // the client may be gone: it has happened all the same
	r.Parameters = nil               // the record before has them
	if receipt.ID() != r.CommandID {
		r.Known = receipt.ID()
		_ = d.record(ctx, r, nil)
	}
	d.recordEnded(ctx, r, receipt.Superseded())
}

// Cancel needs a grant to send what is cancelled.
func (d *desk) Cancel(ctx context.Context, id, reason string) (Status, error) {
	e, err := d.h.c.Get(ctx, id)
	r := Record{CommandID: id}
	if err == nil {
		r.VM, r.Type = e.VM, e.Command.Type
		err = d.mayCancel(e)
	}
	asked := e.Cancel != nil || e.State.Stage.Final()
	err = d.change(ctx, r, err, func() (err error) {
		e, err = d.h.c.Cancel(ctx, id, reason)
		return err
	})
	if err != nil {
		return Status{}, err
	}
	if asked {
		d.vain(&r)
	}
	return d.told(e), nil
}

// told is what an operator is told of a command that it has sent or cancelled: who may not read it learns that it
// is there, and how far it is.
func (d *desk) told(e ledger.Entry) Status {
	s := StatusOf(e)
	if !d.op.may(VerbRead, e.VM, e.Command.Type) {
		s.Code, s.Reason, s.Result, s.Cancel, s.History = "", "", nil, nil, nil
	}
	return s
}

// Get needs a grant to read the command. Without one there is none.
func (d *desk) Get(ctx context.Context, id string) (Status, error) {
	e, err := d.get(ctx, id)
	if err != nil {
		return Status{}, err
	}
	return StatusOf(e), nil
}

func (d *desk) get(ctx context.Context, id string) (ledger.Entry, error) {
	r := Record{CommandID: id}
	if !d.op.mayRead() {
		return ledger.Entry{}, d.look(ctx, r, needs(Grant{Verb: VerbRead}))
	}
	e, err := d.h.c.Get(ctx, id)
	if err == nil {
		r.VM, r.Type = e.VM, e.Command.Type
		if !d.op.may(VerbRead, e.VM, e.Command.Type) {
			err = hidden()
		}
	}
	return e, d.look(ctx, r, err)
}

// Wait is Get once the command is settled or the time is up.
func (d *desk) Wait(ctx context.Context, id string, wait time.Duration) (Status, error) {
	known, err := d.get(ctx, id)
	if err != nil {
		return Status{}, err
	}
	done, err := d.h.waits.take(d.op.Name, 1)
	if err != nil {
		return Status{}, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	e, err := d.h.c.Receipt(id).Wait(ctx)
	if err != nil && (ctx.Err() == nil || errors.Is(err, transport.ErrCredentialsExpired)) {
		return Status{}, err
	}
	if e.Command == nil { // the time was up before the ledger was asked once more
		e = known
	}
	return StatusOf(e), nil
}

// VM needs a grant to read the VM, also where there is none.
func (d *desk) VM(ctx context.Context, vm string) (controller.Presence, error) {
	r := Record{VM: vm}
	if !d.op.mayReadVM(vm) {
		return controller.Presence{}, d.look(ctx, r, needs(Grant{Verb: VerbRead, VM: vm}))
	}
	p, ok := d.h.c.Presence(vm)
	if !ok {
		return p, d.look(ctx, r, transport.Errorf(transport.CodeUnknownCommand, "nothing was heard of this VM"))
	}
	return p, d.look(ctx, r, nil)
}

// listing is what is asked for of a VM's commands, and where it has come to.
type listing struct {
	vm     string
	before uint64 // those of smaller numbers; 0 begins with the newest
	limit  int
	more   bool // it ended before the limit, and not because there are none left
}

const (
	// chunk is how many entries are asked for at a time: the largest that may be have 450 KiB each.
	chunk = 16
	// maxScan bounds how many are looked at for one answer, where most are of types that the operator may not read.
	maxScan = 10_000
)

// List needs a grant to read the VM, and leaves out the types that none is for. Whoever has got a page calls done once
// it is written.
func (d *desk) List(ctx context.Context, l *listing) (p *page, done func(), err error) {
	r := Record{VM: l.vm}
	if !d.op.mayReadVM(l.vm) {
		return nil, nil, d.look(ctx, r, needs(Grant{Verb: VerbRead, VM: l.vm}))
	}
	p = &page{}
	if done, err = d.h.pages.take(d.op.Name, 1); err == nil {
		if err = d.list(ctx, p, l); err != nil {
			done()
		}
	}
	return p, done, d.look(ctx, r, err)
}

func (d *desk) list(ctx context.Context, p *page, l *listing) error {
	for scanned := 0; p.n < l.limit; scanned += chunk {
		if scanned >= maxScan {
			l.more = true
			return nil
		}
		entries, err := d.h.c.List(ctx, l.vm, l.before, chunk)
		if err != nil || len(entries) == 0 {
			return err
		}
		for i := range entries {
			if p.n == l.limit {
				return nil
			}
			if d.op.may(VerbRead, l.vm, entries[i].Command.Type) {
				if added, err := p.add(StatusOf(entries[i])); err != nil || !added {
					l.more = p.full
					return err
				}
			}
			l.before = entries[i].Seq
		}
	}
	return nil
}

// Watch begins a watch, of one VM or of all that a grant lets the operator read. Whoever has begun one calls done.
func (d *desk) Watch(ctx context.Context, vm string) (notices <-chan controller.Notice, done func(), err error) {
	switch {
	case vm != "" && !d.op.mayReadVM(vm):
		err = needs(Grant{Verb: VerbRead, VM: vm})
	case !d.op.mayRead():
		err = needs(Grant{Verb: VerbRead})
	default:
		done, err = d.h.watches.take(d.op.Name, 1)
	}
	if err = d.look(ctx, Record{VM: vm}, err); err != nil {
		return nil, nil, err
	}
	return d.h.c.Watch(ctx), done, nil
}

// sees says whether a notice of a watch is for the operator.
func (d *desk) sees(n controller.Notice) bool {
	switch {
	case n.Kind == controller.NoticeLost:
		return true
	case n.Entry != nil:
		return d.op.may(VerbRead, n.VM, n.Entry.Command.Type)
	}
	return d.op.mayReadVM(n.VM)
}
