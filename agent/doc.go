// Package agent is what the MIGlet's team embeds: typed handlers for commands, over any transport.
//
// An [Agent] dials its controller for ever, runs each command once, in order, and acknowledges it in
// stages until the controller has recorded the outcome. With a journal it keeps these promises over
// its own death as well: after kill -9 it neither loses a command nor runs one twice.
//
// Handlers are declared before Run, with [Handle] for typed parameters. What a handler returns
// becomes the final ack: nil is succeeded, an error is failed, [Reject] is rejected, [RetryLater]
// asks to try again.
//
// A handler heeds its context: that ends when the command is cancelled, when the agent stops, and when the run has lasted
// as long as [Policy] and the command allow. One that does not heed that is abandoned: others run, it costs a goroutine for
// as long as it goes on, and presence shows it.
package agent
