// Package wire reads and writes as JSON what goes over a wire all the time: commands on their way, and
// acks. The form is that of the types' own fields and tags; reading and writing it by hand costs less than a
// fifth of what encoding/json takes, which was most of what a command cost.
package wire
