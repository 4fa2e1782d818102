// Package nats carries links over a NATS broker: the controller and the agents are clients of it, and
// need not reach each other. It uses core NATS, by github.com/nats-io/nats.go: the ledger is what keeps
// commands, and a message that is lost on the way ends its link, which resumes.
//
// Under a prefix, "miglink" by default, with the VM's name as one token:
//
//	PREFIX.hello.VM            an agent's first frame; one controller of the queue group takes it
//	PREFIX.down.VM.SESSION     frames of the controller
//	PREFIX.up.VM.SESSION       frames of the agent, after the first
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
//					subscribe: ["miglink.down.vm-1.>"]
//				}
//			}
//			{
//				user: controller, password: PASSWORD
//				permissions: {
//					publish: ["miglink.down.*.*"]
//					subscribe: ["miglink.hello.* miglink", "miglink.up.*.*"]
//				}
//			}
//		]
//	}
//
// The word after the subject of hellos is the queue group: without it a controller could listen to all of
// them, and not take its share. No one needs _INBOX. NATS does not tell the controller who has published; the
// subject does. One user of each VM, or with JWT one signing key with a template, is up to who runs the server.
//
// A VM on whose link nothing happens costs 480 messages an hour: a ping and a pong every 15 s.
//
// Several controllers may listen on one broker: the queue group gives each dial to one of them, and what
// one that dies has served is dialled again within 30 s, and taken by another.
package nats
