package admin

import (
	"context"
	"errors"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// desk is the controller as one operator may use it, for one request. An endpoint has nothing else, so that
// whatever it does is allowed by a grant and on record.
type desk struct {
	h        *handler
	op       Operator
	remote   string
	action   Action
	recorded bool
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
	r.VM, r.CommandID = brief(r.VM), brief(r.CommandID)
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
	if failed := d.h.o.Audit.Record(ctx, r); failed != nil {
		d.h.o.Log.Error("cannot record what an operator asked for", "component", "admin", "operator", r.Operator,
			"action", r.Action, "command_id", r.CommandID, "decision", r.Decision, "error", failed)
		if r.Action.Changes() {
			return &transport.Error{Code: transport.CodeUnavailable, Message: "the audit cannot be written, and nothing is done without", RetryAfter: time.Second}
		}
	}
	return nil
}

// brief keeps of what a request names as much as a name may have.
func brief(s string) string { return s[:min(len(s), command.MaxIDLength)] }

// look records a request that changes nothing, and returns its error.
func (d *desk) look(ctx context.Context, r Record, err error) error {
	_ = d.record(ctx, r, err)
	return err
}

// change does what changes something, if err is nil, and after it is on record. If it fails that is recorded, too.
func (d *desk) change(ctx context.Context, r Record, err error, do func() error) error {
	if kept := d.record(ctx, r, err); err != nil || kept != nil {
		return errors.Join(err, kept)
	}
	if err = do(); err != nil {
		_ = d.record(context.WithoutCancel(ctx), r, err)
	}
	return err
}

// Send needs a grant to send; of a command that cancels, also one for what it cancels.
func (d *desk) Send(ctx context.Context, vm string, cmd command.Command) (Status, error) {
	r := Record{VM: vm, Type: cmd.Type, CommandID: cmd.ID, Size: len(cmd.Parameters)}
	if p := d.h.o.Redact(cmd.Type, cmd.Parameters); len(p) <= maxParameters {
		r.Parameters = p
	}
	var receipt *controller.Receipt
	err := d.change(ctx, r, d.maySend(ctx, vm, cmd), func() (err error) {
		receipt, err = d.h.c.Send(ctx, vm, cmd)
		return err
	})
	if err != nil {
		return Status{}, err
	}
	if receipt.ID() != cmd.ID {
		r.Known = receipt.ID()
		_ = d.record(ctx, r, nil)
	}
	e, err := d.h.c.Get(ctx, receipt.ID())
	if err != nil {
		return Status{}, err
	}
	status, created := d.told(e), receipt.Created()
	status.Created = &created
	return status, nil
}

func (d *desk) maySend(ctx context.Context, vm string, cmd command.Command) error {
	if err := transport.ValidateVM(vm); err != nil {
		return err
	}
	if !d.op.may(VerbSend, vm, cmd.Type) {
		return needs(Grant{VerbSend, string(cmd.Type), vm})
	}
	if cmd.Type != command.TypeCancel {
		return nil
	}
	p, err := command.Decode[command.Cancel](cmd)
	if err != nil {
		return transport.Errorf(transport.CodeInvalid, "%s", err)
	}
	target, err := d.h.c.Get(ctx, p.CommandID)
	if err != nil || target.VM != vm {
		return nil // it cancels nothing
	}
	return d.mayCancel(target)
}

// Cancel needs a grant to send what is cancelled.
func (d *desk) Cancel(ctx context.Context, id, reason string) (Status, error) {
	e, err := d.h.c.Get(ctx, id)
	r := Record{CommandID: id}
	if err == nil {
		r.VM, r.Type = e.VM, e.Command.Type
		err = d.mayCancel(e)
	}
	err = d.change(ctx, r, err, func() (err error) {
		e, err = d.h.c.Cancel(ctx, id, reason)
		return err
	})
	if err != nil {
		return Status{}, err
	}
	return d.told(e), nil
}

func (d *desk) mayCancel(e ledger.Entry) error {
	switch {
	case d.op.may(VerbSend, e.VM, e.Command.Type):
		return nil
	case d.op.may(VerbRead, e.VM, e.Command.Type):
		return needs(Grant{VerbSend, string(e.Command.Type), e.VM})
	}
	return hidden()
}

// told is what an operator is told of a command that it has sent or cancelled: who may not read it learns that it
// is there, and how far it is.
func (d *desk) told(e ledger.Entry) Status {
	s := StatusOf(e)
	if !d.op.may(VerbRead, e.VM, e.Command.Type) {
		s.Reason, s.Result, s.Cancel, s.History = "", nil, nil, nil
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
	if _, err := d.get(ctx, id); err != nil {
		return Status{}, err
	}
	if err := d.h.waits.take(); err != nil {
		return Status{}, err
	}
	defer d.h.waits.give()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	e, err := d.h.c.Receipt(id).Wait(ctx)
	if err != nil && (ctx.Err() == nil || errors.Is(err, transport.ErrCredentialsExpired)) {
		return Status{}, err
	}
	return StatusOf(e), nil
}

// Fleet is the VMs that a grant lets the operator read.
func (d *desk) Fleet(ctx context.Context) ([]controller.Presence, error) {
	if !d.op.mayRead() {
		return nil, d.look(ctx, Record{}, needs(Grant{Verb: VerbRead}))
	}
	all, err := d.h.c.Fleet(ctx)
	fleet := make([]controller.Presence, 0, len(all))
	for _, p := range all {
		if d.op.mayReadVM(p.VM) {
			fleet = append(fleet, p)
		}
	}
	return fleet, d.look(ctx, Record{}, err)
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

// List needs a grant to read the VM, and leaves out the types that none is for.
func (d *desk) List(ctx context.Context, vm string, before uint64, limit int) ([]Status, error) {
	r := Record{VM: vm}
	if !d.op.mayReadVM(vm) {
		return nil, d.look(ctx, r, needs(Grant{Verb: VerbRead, VM: vm}))
	}
	list := []Status{}
	for len(list) < limit {
		page, err := d.h.c.List(ctx, vm, before, max(limit, defaultList))
		if err != nil {
			return nil, d.look(ctx, r, err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			before = e.Seq
			if len(list) < limit && d.op.may(VerbRead, vm, e.Command.Type) {
				list = append(list, StatusOf(e))
			}
		}
	}
	return list, d.look(ctx, r, nil)
}

// Watch begins a watch, of one VM or of all that a grant lets the operator read. Whoever has begun one calls done.
func (d *desk) Watch(ctx context.Context, vm string) (notices <-chan controller.Notice, done func(), err error) {
	switch {
	case vm != "" && !d.op.mayReadVM(vm):
		err = needs(Grant{Verb: VerbRead, VM: vm})
	case !d.op.mayRead():
		err = needs(Grant{Verb: VerbRead})
	default:
		err = d.h.watches.take()
	}
	if err = d.look(ctx, Record{VM: vm}, err); err != nil {
		return nil, nil, err
	}
	return d.h.c.Watch(ctx), d.h.watches.give, nil
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
