// Package ledger is the durable record of what was asked of each VM and what became of it.
//
// The rules (what an ack does to an entry, who may start, what is superseded) are pure functions on
// [Entry] and are the same for every store; a [Ledger] keeps entries, in order, on disk. Package
// ledger/ledgertest holds every implementation to this contract.
package ledger

import (
	"context"
	"errors"
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
	// error wraps ErrConflict. Over a limit it wraps ErrFull and stores nothing. Unstarted commands
	// of vm with the same SupersedeKey are concluded as superseded in the same step.
	Append(ctx context.Context, vm string, cmd command.Command, limits Limits, now time.Time) (Appended, error)

	// Update applies edits to entries of vm, and is durable before it returns. An entry that is settled by
	// one loses its secrets. It returns one Edited per edit. An edit that fails leaves its entry as it was and the other edits alone; one
	// that changes nothing costs no write. The error is for the store itself: then it is not known
	// which edits took place.
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

	// VMs returns every VM that has an entry, sorted, with the number of its unsettled ones.
	VMs(ctx context.Context) ([]VM, error)

	// Due returns up to limit unsettled, unstarted entries whose ExpiresAt is not after now, and
	// when the next such entry falls due after those (zero: none).
	Due(ctx context.Context, now time.Time, limit int) (due []*Entry, next time.Time, err error)

	// Prune forgets up to limit entries that settled before then, oldest first, and returns how
	// many it forgot. Their IDs and idempotency keys are free again.
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

// Limits bound what may wait for one VM. Zero is no limit.
type Limits struct {
	Commands int // unsettled commands
	Bytes    int // parameters of unsettled commands
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
	Err     error // what Do returned, or ErrNotFound
}

// Errors of every ledger.
var (
	ErrNotFound = errors.New("ledger: no such command")
	ErrConflict = errors.New("ledger: the id or idempotency key is taken by another command")
	ErrFull     = errors.New("ledger: the VM's queue is full")
	ErrClosed   = errors.New("ledger: closed")
)
