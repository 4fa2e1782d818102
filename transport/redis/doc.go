// Package redis carries links over a Redis server: the controller and the agents are clients of it, and
// need not reach each other. It uses Pub/Sub, by github.com/redis/go-redis/v9: the ledger is what keeps
// commands, and a message that is lost on the way ends its link, which resumes.
//
// Under a prefix, "miglink" by default, with the VM's name as one part:
//
//	PREFIX:hello:VM:SESSION    channel of an agent's first frame
//	PREFIX:down:VM:SESSION     channel of the controller's frames
//	PREFIX:up:VM:SESSION       channel of the agent's frames, after the first
//	PREFIX:claim:SESSION       key: a controller serves this link; expires after a minute
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
//	ACL SETUSER vm-1 reset on >PASSWORD resetchannels &miglink:hello:vm-1:* &miglink:down:vm-1:* &miglink:up:vm-1:* +hello +client|setname +publish +subscribe
//
// and a controller all channels of the prefix, the pattern that it subscribes to literally, and its keys:
//
//	ACL SETUSER controller reset on >PASSWORD resetchannels &miglink:hello:* &miglink:down:* &miglink:up:* ~miglink:claim:* +hello +client|setname +ping +publish +subscribe +unsubscribe +psubscribe +set
//
// A URL with the number of a database asks for +select, too. Do not give the categories @connection and @pubsub:
// CLIENT LIST and CLIENT KILL are in one, and PUBSUB CHANNELS in the other. The user named default may do all
// without a password, until ACL SETUSER default off.
//
// Redis does not tell reading a channel from writing it: a VM can also say to itself what its controller would,
// and hear what it says. It does not tell the controller who has published, either: the channel does.
//
// Each agent has two connections to the server, a controller one to subscribe and a few to publish. A VM
// on whose link nothing happens costs 480 messages an hour: a ping and a pong every 15 s.
//
// Several controllers may listen on one server: each hello is claimed by one of them, and what one that
// dies has served is noticed within the keepalive, 15 s, and taken by another. A Redis Cluster will not
// do: a PUBLISH there does not count the receivers at other nodes.
package redis
