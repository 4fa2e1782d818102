package ack

import "fmt"

// Code says, for programs, why a command has come to a stage: two commands may fail for reasons that ask for different
// things. Most stages have none. It is a name as run_timeout, which is stable, where the text of a reason is not.
//
// Codes are open, as types of commands are: whoever reads one that it does not know goes by the stage alone.
type Code string

// CodeBegun goes with rejected and expired where a handler was called before: it has rejected the command itself, or deferred it
// until its time had passed. Of what has neither this code nor begun otherwise those stages say that it was not run.
const CodeBegun Code = "begun"

// CodeRefused goes with rejected and interrupted where the controller did not let the command start, as it had ended: that end
// stays.
const CodeRefused Code = "refused"

// CodePanic goes with failed where the handler panicked. The value of the panic is in the agent's log alone, at debug level. How
// far the handler came is not known.
const CodePanic Code = "panic"

// CodeRunTimeout is that of a run that has lasted longer than it may.
const CodeRunTimeout Code = "run_timeout"

// CodeNoDisk goes with deferred where the agent cannot journal the command: its disk is full, or cannot be written.
const CodeNoDisk Code = "no_disk"

// MaxCode is the length of the longest code, in bytes.
const MaxCode = 64

// Validate accepts no code, and lower-case letters, digits and '_', starting with a letter. An error names the field as
// it is on the wire.
func (c Code) Validate() error {
	if len(c) > MaxCode {
		return fmt.Errorf("code: %d bytes, at most %d are allowed", len(c), MaxCode)
	}
	for i, r := range []byte(c) {
		if r >= 'a' && r <= 'z' || i > 0 && (r >= '0' && r <= '9' || r == '_') {
			continue
		}
		return fmt.Errorf("code: %q may hold only a-z, 0-9 and '_', and starts with a letter", string(c))
	}
	return nil
}
