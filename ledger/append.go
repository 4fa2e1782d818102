package ledger

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/document"
	"github.com/miglink/miglink/internal/safely"
)

// Check says whether there is room for cmd where a number of commands with bytes of parameters wait.
func (l Limits) Check(commands, bytes int, cmd command.Command) error {
	if l.Commands > 0 && commands >= l.Commands {
		return fmt.Errorf("%w: %d commands wait, at most %d are allowed", ErrFull, commands, l.Commands)
	}
	if l.Bytes > 0 && bytes+len(cmd.Parameters) > l.Bytes {
		return fmt.Errorf("%w: %d bytes of parameters wait, at most %d are allowed", ErrFull, bytes, l.Bytes)
	}
	return nil
}

// Ends asks MayEnd for an entry that the appended command would supersede. For implementations of Ledger: call it
// in the step that appends, for each such entry and before any of them is changed.
func (l Limits) Ends(e *Entry) error {
	if l.MayEnd == nil {
		return nil
	}
	return l.MayEnd(e)
}

// Known is what Append returns, within limits, for a command whose ID or idempotency key belongs to e. Without an error and
// without an Entry it has only been e's key, and is free: cmd is to be appended, see Limits.New.
func (e *Entry) Known(vm string, cmd command.Command, l Limits, r Redact) (Appended, error) {
	// First: whether it is the same is already something about e.
	if l.MayKnow != nil {
		if err := l.MayKnow(e); err != nil {
			return Appended{}, err
		}
	}
	if e.VM == vm && e.Command.ID == cmd.ID && command.Reused(e.Command.CreatedAt, cmd.CreatedAt) {
		return Appended{}, &reused{e}
	}
	if e.VM == vm && e.Command.ID != cmd.ID && e.KeyFree() {
		return Appended{}, nil
	}
	if e.VM != vm || !e.Same(cmd, r) {
		return Appended{}, &Conflict{Of: e, Key: cmd.IdempotencyKey, ByID: e.Command.ID == cmd.ID, VM: vm}
	}
	return Appended{Entry: e}, nil
}

// Conflict is the error of an Append of a command whose ID or idempotency key is another's. It wraps ErrConflict.
type Conflict struct {
	Of   *Entry // the other command
	ByID bool   // it has the ID; else it has the key
	Key  string // of the command that was to be appended
	VM   string // likewise
}

// Error names the other command, and what to do.
func (c *Conflict) Error() string {
	e := c.Of
	other := fmt.Sprintf("%s command %s, which is %s", e.Command.Type, e.Command.ID, e.State.Stage)
	switch {
	case !c.ByID:
		return fmt.Sprintf("the idempotency key %q is that of the %s, and asks for something else: choose another key, or ask for the same", c.Key, other)
	case e.VM != c.VM:
		return fmt.Sprintf("the ID is that of the %s, of %s: choose another ID", other, e.VM)
	}
	return fmt.Sprintf("the ID is that of the %s, and asks for something else: choose another ID, or ask for the same", other)
}

// Unwrap is ErrConflict.
func (c *Conflict) Unwrap() error { return ErrConflict }

// reused is the error of an Append of a command whose ID is that of one that was created at another time.
type reused struct{ of *Entry }

func (r *reused) Error() string {
	c := r.of.Command
	return fmt.Sprintf("the ID %s is that of another command, which was created at %s and %s: choose another ID, or repeat that one's created_at",
		c.ID, c.CreatedAt.Format(time.RFC3339Nano), r.of.came())
}

func (r *reused) Unwrap() error { return ErrReused }

// came is what has become of the command, to be put after "and".
func (e *Entry) came() string {
	if !e.State.Settled() {
		return fmt.Sprintf("is %s", e.State.Stage)
	}
	return fmt.Sprintf("has ended as %s", e.State.Stage)
}

// Apply makes an edit of e, for implementations of Ledger. One that settles it takes its secrets. An edit that panics, or
// whose entry could not be read again, fails, and it alone: e is as it was.
func (e *Entry) Apply(edit Edit, r Redact) Edited {
	var made Edited
	if err := safely.Do(func() error {
		made = e.apply(edit, r)
		return nil
	}); err != nil {
		return Edited{Entry: e, Err: fmt.Errorf("ledger: an edit failed: %w", err)}
	}
	return made
}

func (e *Entry) apply(edit Edit, r Redact) Edited {
	next := *e
	if err := edit.Do(&next); err != nil {
		return Edited{Entry: e, Err: err}
	}
	if !Changed(e, &next) {
		return Edited{Entry: e}
	}
	if next.State.Settled() {
		next.Command = r.command(next.Command)
	}
	if err := next.Readable(e); err != nil {
		return Edited{Entry: e, Err: err}
	}
	return Edited{Entry: &next, Changed: true}
}

// Readable returns an error that wraps ErrUnreadable where e, once it is written, could not be read again: a document is
// not JSON or nested too deep, a text is not UTF-8, a time is in a year that RFC 3339 does not have. Implementations of
// Ledger store no such entry. What is as it is in before, an earlier state that is stored, is not looked at again; nil is
// none.
func (e *Entry) Readable(before *Entry) error {
	if before == nil {
		before = &Entry{}
	}
	var err error
	if c := e.Command; c != before.Command {
		err = errors.Join(readable("parameters", c.Parameters), inYear("created_at", c.CreatedAt), inYear("expires_at", c.ExpiresAt))
	}
	if err == nil && string(e.Result) != string(before.Result) {
		err = readable("result", e.Result)
	}
	if err == nil && e.Code != before.Code {
		err = e.Code.Validate()
	}
	if err == nil && e.Reason != before.Reason {
		err = document.CheckText("reason", e.Reason, math.MaxInt)
	}
	if err == nil && e.Instance != before.Instance {
		err = document.CheckText("instance", e.Instance, math.MaxInt)
	}
	if err == nil && e.Run != before.Run {
		err = document.CheckText("run", e.Run, math.MaxInt)
	}
	if u := e.Unheard; err == nil && u != nil && u != before.Unheard {
		err = document.CheckText("via", u.Via, math.MaxInt)
	}
	if err == nil && e.NotBefore != before.NotBefore {
		err = inYear("not_before", e.NotBefore)
	}
	if err == nil && e.RunEnds != before.RunEnds {
		err = inYear("run_ends", e.RunEnds)
	}
	if c := e.Cancel; err == nil && c != nil && c != before.Cancel {
		err = errors.Join(document.CheckText("cancel.reason", c.Reason, math.MaxInt), inYear("cancel.at", c.At))
	}
	if err == nil && e.UpdatedAt != before.UpdatedAt {
		err = inYear("updated_at", e.UpdatedAt)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return nil
}

// readable says what is wrong with a document; none is as good as one.
func readable(field string, doc []byte) error {
	if len(doc) == 0 {
		return nil
	}
	if _, ok := document.Depth(doc); !ok {
		return fmt.Errorf("%s: not JSON, or nested more than %d levels deep", field, document.MaxDepth)
	}
	return nil
}

func inYear(field string, t time.Time) error {
	if y := t.Year(); y < 0 || y > 9999 {
		return fmt.Errorf("%s is in the year %d", field, y)
	}
	return nil
}
