package ledger

import (
	"fmt"

	"github.com/miglink/miglink/command"
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

// Known is what Append returns for a command whose ID or idempotency key belongs to e.
func (e *Entry) Known(vm string, cmd command.Command, r Redact) (Appended, error) {
	if e.VM != vm || !e.Same(cmd, r) {
		return Appended{}, ErrConflict
	}
	return Appended{Entry: e}, nil
}

// Apply makes an edit of e, for implementations of Ledger. One that settles it takes its secrets.
func (e *Entry) Apply(edit Edit, r Redact) Edited {
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
	return Edited{Entry: &next, Changed: true}
}
