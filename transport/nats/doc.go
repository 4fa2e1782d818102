// Package nats carries links over a NATS broker: the controller and the agents are clients of it, and
// need not reach each other. It uses core NATS, by github.com/nats-io/nats.go: the ledger is what keeps
// commands, and a message that is lost on the way ends its link, which resumes.
//
// Under a prefix, "miglink" by default, with the VM's name as one token:
//
//	PREFIX.hello.VM            an agent's first frame; one controller of the queue group takes it
//	PREFIX.down.VM.SESSION     frames of the controller
//	PREFIX.up.VM.SESSION       frames of the agent, after the first
//	PREFIX.started             an empty message of a controller that has started
//
// A payload is a frame of package framed as JSON; the hello's reply subject is where the agent listens.
// What does not fit the broker's largest payload goes in several messages, all but the last with the
// header Miglink-More. An empty message says that the other end is gone. Whoever may subscribe to
// PREFIX.down.> or PREFIX.up.> can watch, secrets included.
//
// # Least privileges
//
// In the server's configuration, an agent's user and a controller's. An agent can then neither hear nor say
// anything of another VM, nor what only a controller says, nor see that there is another:
//
//	authorization {
//		users = [
//			{
//				user: vm-1, password: PASSWORD
//				permissions: {
//					publish: ["miglink.hello.vm-1", "miglink.up.vm-1.>"]
//					subscribe: ["miglink.down.vm-1.>", "miglink.started"]
//				}
//			}
//			{
//				user: controller, password: PASSWORD
//				permissions: {
//					publish: ["miglink.down.*.*", "miglink.started"]
//					subscribe: ["miglink.hello.* miglink", "miglink.up.*.*"]
//				}
//			}
//		]
//	}
//
// The word after the subject of hellos is the queue group: without it a controller could listen to all of
// them, and not take its share. Without miglink.started all works, but that agents of a controller that has died notice it
// by its silence alone. No one needs _INBOX. NATS does not tell the controller who has published; the
// subject does. One user of each VM, or with JWT one signing key with a template, is up to who runs the server.
//
// # Limits
//
// All VMs share the controller's connection. In the server's configuration, which are its defaults:
//
//	max_payload: 1MB
//	max_pending: 64MB
//
// A larger max_payload gains nothing: frames go in parts. Listen reads it from the server, and warns where it is 5 MiB or
// more. With max_pending a server ends the connection of a client that is so far behind: less than 64MB would have one VM
// that sends a lot end the controller's. What no setting bounds is how many messages a VM sends that are not too large;
// a controller keeps 16 MiB of one link, and drops what is beyond, which ends the link.
//
// A VM on whose link nothing happens costs 480 messages an hour: a ping and a pong every 15 s.
//
// # When the broker is away
//
// A server that is down, restarted, or refuses credentials or permissions is tried again for as long as it takes: by a
// controller after pauses of at most 8 s, by an agent after those of its own backoff, of at most 30 s. No state of the
// server's is needed. Listener.Ready says whether there is a connection, and why not.
//
// Several controllers may listen on one broker: the queue group gives each dial to one of them. A controller that starts
// says so, and each agent asks, within a second, whether its own lives: what one that has died has served is taken by
// another then. Where none starts it is noticed within 30 s.
package nats
