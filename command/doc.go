// Package command defines what a controller asks of the agent on a VM.
//
// A [Command] is an envelope: identity, type, lifetime and JSON parameters. The five types the
// MIGlet knows have typed parameters ([RegisterRunner], [Drain], [Shutdown], [UpdateConfig],
// [SetLogLevel]); any other type is a struct of the user's own that implements [Params].
//
// Field names are the deployed ones, so that a command written by an older controller decodes
// here and one written here decodes there. Unknown fields are ignored by both.
//
// Parameters may carry credentials. They marshal on the wire, and print nowhere: [Parameters] and
// [Secret] redact themselves under every fmt verb and under log/slog. A type says once which of its parameters are secret, by
// the Go types of its fields, and [Declare] makes that known to the program. Of a type that is not declared all are.
package command
