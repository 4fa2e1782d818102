// Package redis carries links over a Redis server: the controller and the agents are clients of it, and
// need not reach each other. It uses Pub/Sub, by github.com/redis/go-redis/v9: the ledger is what keeps
// commands, and a message that is lost on the way ends its link, which resumes.
//
// Under a prefix, "miglink" by default, with the VM's name as one part:
//
//	PREFIX:hello:VM:SESSION    channel of an agent's first frame
//	PREFIX:down:VM:SESSION     channel of the controller's frames
//	PREFIX:up:VM:SESSION       channel of the agent's frames, after the first
//	PREFIX:started             channel of an empty message of a controller that has started
//	PREFIX:claim:SESSION       key: a controller serves this link; expires after a minute
//
// Every controller hears every hello. Each looks at its credentials, and makes nothing for one that it refuses, but for
// a message that says so; of those that let it in one sets the key, subscribes to what the agent will say, and answers,
// and the others say nothing. All controllers on one server are to ask for the same credentials.
//
// A message is a frame of package framed as JSON; an empty one says that the other end is gone. PUBLISH
// says how many have received a message: where nobody has, the link ends at once. Whoever subscribes to
// others' channels sees all that passes, secrets included, and counts as a receiver: a link whose end
// died is then noticed by its silence only, after twice the keepalive.
//
// # Least privileges
//
// An agent needs the three channels of its VM, and a few commands. It can then neither hear nor say anything of
// another VM, nor see that there is one:
//
//	ACL SETUSER vm-1 reset on >PASSWORD resetchannels &miglink:hello:vm-1:* &miglink:down:vm-1:* &miglink:up:vm-1:* &miglink:started +hello +client|setname +publish +subscribe
//
// and a controller all channels of the prefix, the pattern that it subscribes to literally, and its keys:
//
//	ACL SETUSER controller reset on >PASSWORD resetchannels &miglink:hello:* &miglink:down:* &miglink:up:* &miglink:started ~miglink:claim:* +hello +client|setname +ping +publish +subscribe +unsubscribe +psubscribe +set
//
// A URL with the number of a database asks for +select, too. Do not give the categories @connection and @pubsub:
// CLIENT LIST and CLIENT KILL are in one, and PUBSUB CHANNELS in the other. The user named default may do all
// without a password, until ACL SETUSER default off.
//
// Without miglink:started all works, but that agents of a controller that has died notice it by its silence alone.
//
// Redis does not tell reading a channel from writing it: a VM can also say to itself what its controller would,
// and hear what it says; and it can say that a controller has started, upon which each agent sends its controller one
// ping in 10 s at most. It does not tell the controller who has published, either: the channel does.
//
// # Limits
//
// All VMs share the server, and the controller's connection that subscribes. A server that takes messages of any size
// takes 40 MB from one VM, has no room for that in what waits for the controller, and ends its connection, and with it
// the links of all VMs. No frame is larger than 2 MiB. In redis.conf, or by CONFIG SET:
//
//	proto-max-bulk-len 4mb
//	client-output-buffer-limit pubsub 256mb 64mb 60
//
// Then the server ends the connection of whoever sends more than 4 MB in one argument, and nobody else's, and keeps up to
// 256 MB for a controller that is slow for a while. Who shares the server for other purposes has the first bound, too.
// Listen tries, on a connection of its own and beside everything else, whether the server takes 5 MiB, published to a
// channel that nobody hears, and warns once where it does. What no setting bounds is how many messages a VM sends that
// are not too large: that many may still have the server end the controller's connection.
//
// # Connections
//
// Each agent has two connections to the server, a controller one to subscribe and a few to publish. A VM
// on whose link nothing happens costs 480 messages an hour: a ping and a pong every 15 s.
//
// A server that is down, restarted without its data, or refuses credentials or permissions is tried again for as long as
// it takes: by a controller after pauses of at most 8 s, by an agent after those of its own backoff, of at most 30 s.
// Listener.Ready says whether there is a connection, and why not.
//
// Several controllers may listen on one server: each hello is claimed by one of them. A controller that starts says so, and
// each agent asks, within a second, whether its own lives: what one that has died has served is taken by another then.
// Where none starts it is noticed within the keepalive, 15 s. A Redis Cluster will not
// do: a PUBLISH there does not count the receivers at other nodes.
package redis
