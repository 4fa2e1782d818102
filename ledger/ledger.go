// Package ledger is the durable record of what was asked of each VM and what became of it.
//
// The rules (what an ack does to an entry, who may start, what is superseded) are pure functions on
// [Entry] and are the same for every store; a [Ledger] keeps entries, in order, on disk. Package
// ledger/ledgertest holds every implementation to this contract.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/miglink/miglink/command"
)

// Ledger stores entries. It is safe for concurrent use. An entry that it returns is the state of a
// command at one moment: it never changes, is shared, and must not be written to.
//
// An error of ctx means that nothing was done: a write that has begun is waited for, since whoever
// made it has others to tell of it.
type Ledger interface {
	// Epoch identifies this ledger: another ledger has another epoch, and a ledger keeps its own
	// over restarts. It is at most 32 letters and digits.
	Epoch() string

	// Redact says what is kept of the parameters of commands that are settled from now on. Call it before
	// anything is written.
	Redact(Redact)

	// Append makes cmd the newest of vm's commands, and is durable before it returns. Where cmd.ID
	// or cmd.IdempotencyKey is known already for the same VM with the same content (see Entry.Same), the
	// entry of then is returned and nothing is stored; with other content, or for another VM, the
	// error wraps ErrConflict, and where the ID is known with another CreatedAt (see command.Reused) ErrReused. A key that is free again (see Entry.KeyFree) becomes cmd's; the command that had it
	// stays, without it. Over a limit it wraps ErrFull and stores nothing. What could not be read again (see
	// Entry.Readable) is ErrUnreadable, and not stored either. Unstarted commands
	// of vm with the same SupersedeKey are concluded as superseded in the same step. What limits.MayEnd or
	// limits.MayKnow refuses is their error as it is, and nothing is stored.
	Append(ctx context.Context, vm string, cmd command.Command, limits Limits, now time.Time) (Appended, error)

	// Update applies edits to entries of vm, and is durable before it returns. An entry that is settled by
	// one loses its secrets. It returns one Edited per edit. An edit that fails leaves its entry as it was, and alone the other
	// edits and whatever else is written at the same time; one that changes nothing costs no write. The error is for the
	// store itself: then it is not known which edits took place.
	Update(ctx context.Context, vm string, edits ...Edit) ([]Edited, error)

	// Note applies edits at once for readers of this process, and makes them durable along with
	// the next Append or Update, or Close. A crash before that loses them. It returns one Edited per
	// edit; an edit of a command that is not there, or settled, does nothing.
	Note(vm string, edits ...Edit) []Edited

	// Pending returns up to limit unsettled entries of one lane of vm with Seq greater than after,
	// by Seq. A limit of 0 is no limit.
	Pending(ctx context.Context, vm string, lane Lane, after uint64, limit int) ([]*Entry, error)

	// Get returns the entry of a command, or ErrNotFound.
	Get(ctx context.Context, id string) (*Entry, error)

	// List returns up to limit entries of vm with Seq less than before, newest first. A before of
	// 0 starts at the newest.
	List(ctx context.Context, vm string, before uint64, limit int) ([]*Entry, error)

	// VMs returns the VMs that have an entry, as q says, sorted byte by byte, with the number of their unsettled ones.
	VMs(ctx context.Context, q VMQuery) ([]VM, error)

	// Due returns up to limit entries whose DueAt is not zero and not after now, and
	// when the next such entry falls due after those (zero: none).
	Due(ctx context.Context, now time.Time, limit int) (due []*Entry, next time.Time, err error)

	// Prune forgets up to limit entries that settled before then, oldest first, and returns how
	// many it forgot. Their IDs and idempotency keys are free again. Nothing is kept of a VM whose last entry is
	// forgotten; yet no Seq of its is used again, so what it held of the past does not cover what comes.
	Prune(ctx context.Context, then time.Time, limit int) (int, error)

	// Close writes what Note has left and releases the store. Every later call returns ErrClosed.
	Close() error
}

// Lane is one of the two queues of a VM. Each is first in, first out; urgent commands overtake.
type Lane bool

// The lanes.
const (
	Normal Lane = false
	Urgent Lane = true
)

// Limits bound what may wait for one VM, and what an append may touch. Zero is no limit.
type Limits struct {
	Commands int // unsettled commands
	Bytes    int // parameters of unsettled commands

	// Away says that the VM has no link: Append notes of a command with an idempotency key that no link has had it, and
	// whoever hands it to one later calls Entry.Send before.
	Away bool

	// MayEnd is asked of each pending entry that the command would conclude as superseded; nil allows all. With an
	// error nothing is stored, no entry is changed, and Append returns that error. It is asked in the step that
	// stores the command, so no other append comes in between: it must be quick, and must not call the ledger.
	MayEnd func(*Entry) error

	// MayKnow is asked of the entry that the command's ID or idempotency key belongs to already, before the two are
	// compared; nil allows all. Its error is returned in place of that entry or of ErrConflict. The rules of
	// MayEnd hold.
	MayKnow func(*Entry) error
}

// Appended is what Append did.
type Appended struct {
	Entry      *Entry
	Created    bool     // false: it was there already
	Superseded []*Entry // concluded by this command
}

// VM counts one VM's commands.
type VM struct {
	Name    string `json:"vm_id"`
	Pending int    `json:"pending"`
}

// VMQuery asks for VMs, page by page. The zero value asks for all.
type VMQuery struct {
	After     string // only names greater than this
	Limit     int    // at most so many, of the lowest names; 0 is no limit
	Unsettled bool   // only those with unsettled entries
}

// Edit changes one entry.
type Edit struct {
	ID string
	// Do is pure: it may be called again, on another state of the entry. It writes to a copy, but for
	// identity (VM, Seq, Command) and what is behind pointers and slices. Where it returns an error, the entry stays as it was.
	Do func(*Entry) error
}

// Edited is what an edit did.
type Edited struct {
	Entry   *Entry // as it is now; nil if there is none
	Changed bool
	Err     error // what Do returned, its panic, ErrNotFound or ErrUnreadable
}

// Errors of every ledger.
var (
	ErrNotFound = errors.New("ledger: no such command")
	ErrConflict = errors.New("ledger: the id or idempotency key is taken by another command") // see Conflict
	// ErrReused wraps ErrConflict: the ID is that of a command that was created at another time.
	ErrReused = fmt.Errorf("%w: the id belongs to another command", ErrConflict)
	ErrFull   = errors.New("ledger: the VM's queue is full")
	ErrClosed = errors.New("ledger: closed")

	// ErrUnreadable is of what could not be read again and is not stored, and of a stored entry that cannot be read.
	ErrUnreadable = errors.New("ledger: cannot be read")
)
