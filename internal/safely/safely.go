// Package safely keeps a panic from ending the process. A goroutine that serves a peer runs what the peer has a part in
// under Do, ends that peer's link on an error, and lets the others live.
package safely

import (
	"fmt"
	"runtime/debug"
)

// Panic is the error of a function that panicked.
type Panic struct {
	Value any    // of the panic
	Stack []byte // of its goroutine, as debug.Stack has it
}

// Error is without the value, which may hold anything that the function was given: an error goes into logs, and to peers.
func (p *Panic) Error() string { return "it panicked" }

// Text is the value, which may be long: for a log at debug level that cuts it.
func (p *Panic) Text() string { return fmt.Sprint(p.Value) }

// Do calls f and returns its error, or a *Panic where it panics. Locks that f holds by then stay locked, unless f defers
// to unlock them.
func Do(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Panic{v, debug.Stack()}
		}
	}()
	return f()
}
