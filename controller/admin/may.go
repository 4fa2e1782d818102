package admin

import (
	"context"

	"github.com/google/uuid"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// sending is one send of an operator, as far as grants are concerned.
type sending struct {
	vm    string
	cmd   command.Command
	ownID bool   // the operator has chosen the ID
	ends  string // the ID of what the command cancels; empty: it cancels nothing
}

// newSending reads what a command of type cancel is about, and leaves of its parameters only what was read: another
// reader may take another of two fields of one name, and what is judged must be what is sent.
func newSending(vm string, cmd command.Command, ownID bool) (sending, error) {
	s := sending{vm: vm, cmd: cmd, ownID: ownID}
	if cmd.Type != command.TypeCancel {
		return s, nil
	}
	p, err := command.Decode[command.Cancel](cmd)
	if err != nil {
		return s, transport.Errorf(transport.CodeInvalid, "%s", err)
	}
	s.ends = p.CommandID
	s.cmd.Parameters, err = wirejson.Marshal(p)
	return s, err
}

// maySend returns nil if the operator may send a command, as far as can be said before it is stored; guard says the
// rest.
func (d *desk) maySend(ctx context.Context, s sending) error {
	if err := transport.ValidateVM(s.vm); err != nil {
		return err
	}
	if !d.op.may(VerbSend, s.vm, s.cmd.Type) {
		return needs(Grant{VerbSend, string(s.cmd.Type), s.vm})
	}
	if err := d.mayChoose(s); err != nil || s.cmd.Type != command.TypeCancel {
		return err
	}
	return d.mayEndByCancel(ctx, s)
}

// mayEndByCancel is about a command of type cancel. The agent remembers one for what has not been sent yet, of
// whatever type that will be: so what is not known takes a grant for every type. What the operator may not see gets the
// same answer, or it would tell that there is such a command.
func (d *desk) mayEndByCancel(ctx context.Context, s sending) error {
	if d.op.mayAll(VerbSend, s.vm) {
		return nil
	}
	target, err := d.h.c.Get(ctx, s.ends)
	if err != nil || target.VM != s.vm || !d.op.knows(target.VM, target.Command.Type) {
		return needs(Grant{Verb: VerbSend, VM: s.vm})
	}
	return d.mayCancel(target)
}

// mayChoose keeps operators who may not see everything from asking, by an ID or a key of their own, whether somebody
// else has a command of that name: of what nobody can guess there is nothing to ask. IDs are those of all VMs, and
// idempotency keys of one.
func (d *desk) mayChoose(s sending) error {
	if s.ownID && !guessless(s.cmd.ID) && !d.op.mayAllOfAll(VerbRead) {
		return mayNotChooseID()
	}
	if k := s.cmd.IdempotencyKey; k != "" && !guessless(k) && !d.op.mayAll(VerbRead, s.vm) {
		return mayNotChooseKey(s.vm)
	}
	return nil
}

// guessless says whether s has the form of a random UUID, of version 4 or 7. Those of other versions are made of names,
// or of times and places, and can be guessed.
func guessless(s string) bool {
	if len(s) != 36 { // the form with hyphens alone
		return false
	}
	u, err := uuid.Parse(s)
	return err == nil && u.Variant() == uuid.RFC4122 && (u.Version() == 4 || u.Version() == 7)
}

// mayNotChooseID is also the answer where the ID is taken by what the operator may not see.
func mayNotChooseID() error {
	return denial{transport.Errorf(transport.CodeForbidden,
		"this ID may not be chosen: leave it out, or take a random UUID (version 4 or 7); any other takes the grant %s", Grant{Verb: VerbRead})}
}

// mayNotChooseKey is also the answer where the key is taken by what the operator may not see.
func mayNotChooseKey(vm string) error {
	return denial{transport.Errorf(transport.CodeForbidden,
		"this idempotency key may not be chosen: take a random UUID (version 4 or 7); any other takes the grant %s", Grant{Verb: VerbRead, VM: vm})}
}

// guard is what the operator may do by a send besides: it is asked in the step that stores the command.
func (d *desk) guard(s sending) controller.Guard {
	return controller.Guard{
		MayEnd: func(e *ledger.Entry) error {
			switch {
			case d.op.may(VerbSend, e.VM, e.Command.Type):
				return nil
			case d.op.may(VerbRead, e.VM, e.Command.Type):
				return needs(Grant{VerbSend, string(e.Command.Type), e.VM})
			}
			return denial{transport.Errorf(transport.CodeForbidden,
				"its supersede key ends a command that these grants are not for: take another key; with the grant %s any will do",
				Grant{Verb: VerbSend, VM: e.VM})}
		},
		MayKnow: func(e *ledger.Entry) error {
			switch {
			case d.op.knows(e.VM, e.Command.Type):
				return nil
			case e.Command.ID == s.cmd.ID:
				return mayNotChooseID()
			}
			return mayNotChooseKey(s.vm)
		},
	}
}

// mayCancel returns nil if the operator may cancel e.
func (d *desk) mayCancel(e ledger.Entry) error { return d.mayEnd(VerbSend, e) }

// mayEnd returns nil if the operator has a verb for e. Who may not know that there is such a command is told so.
func (d *desk) mayEnd(v Verb, e ledger.Entry) error {
	switch {
	case d.op.may(v, e.VM, e.Command.Type):
		return nil
	case d.op.may(VerbRead, e.VM, e.Command.Type):
		return needs(Grant{v, string(e.Command.Type), e.VM})
	}
	return hidden()
}
