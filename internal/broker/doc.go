// Package broker is what the transports over a message broker have in common: names of VMs as parts of
// subjects, frames as messages, the links that a controller serves, and its connection that is made again
// for as long as it takes.
package broker
