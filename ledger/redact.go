package ledger

import "github.com/miglink/miglink/command"

// Redact returns what is kept of a command's parameters once it is settled: secrets are of no use then. It is
// pure, quick and safe for concurrent use, does not panic (or what would settle the command fails), does not write to what
// it gets, and changes nothing in what it returned itself. What is not JSON, or nested deeper than command.MaxDepth,
// becomes an empty object. Nil is command.DropSecrets.
type Redact func(command.Type, command.Parameters) command.Parameters

// kept is what is kept of parameters.
func (r Redact) kept(t command.Type, p command.Parameters) command.Parameters {
	if r == nil {
		r = command.DropSecrets
	}
	kept := r(t, p)
	switch {
	case string(kept) == string(p):
		return p
	case readable("parameters", kept) != nil || len(kept) == 0: // of an own Redact; else the end of the command could not be written
		return command.Parameters("{}")
	}
	return kept
}

// command is cmd as it is kept, and the same one where it has no secrets.
func (r Redact) command(cmd *command.Command) *command.Command {
	kept := r.kept(cmd.Type, cmd.Parameters)
	if string(kept) == string(cmd.Parameters) {
		return cmd
	}
	own := *cmd
	own.Parameters = kept
	return &own
}

// Redacted is e as it is kept: without the secrets of its command, if it is settled. Where nobody has said yet what they are,
// as when a ledger is opened, that goes for types that are declared.
func (e *Entry) Redacted(r Redact) *Entry {
	if !e.State.Settled() || r == nil && !command.Declared(e.Command.Type) {
		return e
	}
	cmd := r.command(e.Command)
	if cmd == e.Command {
		return e
	}
	next := *e
	next.Command = cmd
	return &next
}
