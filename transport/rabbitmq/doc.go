// Package rabbitmq carries links over a RabbitMQ broker: the controller and the agents are clients of it,
// and need not reach each other. It speaks AMQP 0-9-1, by github.com/rabbitmq/amqp091-go: the ledger is
// what keeps commands, and a message that is lost on the way ends its link, which resumes.
//
// Under a prefix, "miglink" by default, with the VM's name as one word:
//
//	PREFIX                     durable topic exchange, which the controller declares
//	hello.VM.SESSION           routing key of an agent's first frame
//	up.VM.SESSION.CONTROLLER   routing key of the agent's frames, after the first: the reply-to of the welcome
//	PREFIX.hello               queue that all controllers consume, and acknowledge; it goes with the last of them
//	PREFIX.down.VM.CONNECTION  queue of a VM, exclusive: it goes with the agent's connection, which the
//	                           broker's heartbeat ends within 30 s where the agent cannot. It is the reply-to
//	                           of the hello. The controller's frames go to it by the default exchange, each with
//	                           the session as correlation-id, and it is bound to nothing
//	PREFIX.up.CONTROLLER       queue of a controller, exclusive likewise, bound to up.*.*.CONTROLLER
//	PREFIX.started             queue that all agents consume and nothing is put into. A controller that starts
//	                           deletes it, of which the broker tells them, and makes another
//
// A message is a frame of package framed as JSON; an empty one says that the other end is gone. Messages
// are confirmed and mandatory: the broker returns what no queue takes, and the link ends at once. Whoever
// binds a queue of their own to up.# or hello.# can watch what agents say; nothing of it is returned then, and
// a controller that died is noticed by its silence only, after twice the keepalive.
// A hello whose reply-to is not a queue of its VM is dropped: by the default exchange a controller can write to any queue.
//
// # Least privileges
//
// An agent needs to declare and to read its own queues, and to write to the exchange, with the routing keys of
// its VM. It can then neither hear nor say anything of another VM, nor what a controller says:
//
//	rabbitmqctl set_permissions vm-1 ^miglink\.down\.vm-1\. ^miglink$ ^miglink\.(started$|down\.vm-1\.)
//	rabbitmqctl set_topic_permissions vm-1 miglink ^(hello|up)\.vm-1\. ^$
//
// and a controller everything of the prefix, and to write to the queues of VMs by the default exchange, and so to
// any queue of its vhost, which is better one of its own:
//
//	rabbitmqctl set_permissions controller ^miglink ^(miglink|amq\.default$) ^miglink
//
// An agent that may not read miglink.started links all the same, and notices by its silence alone that a controller has
// died. None can say that one has started.
//
// Do not let an agent write to its own queues, or read the exchange: it could make an exchange of a queue's name,
// whose routing keys nobody checks, and have that hand hellos of another VM to ours. RabbitMQ does not check who
// asks, by a passive declaration, whether a queue or an exchange exists and how many messages and consumers it
// has: a VM can count the controllers. It does not limit how many queues of its own name a user declares
// (set_user_limits does so for connections and channels). The user-id of a hello, which the broker checks, is the
// Credentials' User.
//
// What was dead-lettered, or is of another user-id than the hello of its link, is dropped, and the log counts it: a VM
// chooses where its own queue dead-letters to, and with which routing key.
//
// # Limits
//
// All VMs share the broker, and the controller's queues. No frame is larger than 2 MiB; in rabbitmq.conf, at each node:
//
//	max_message_size = 4194304
//
// Then the broker closes the channel of whoever publishes more, and nothing of it reaches a controller. Listen tries, on
// a connection of its own and beside everything else, whether the broker takes 5 MiB, published to a queue that does not
// exist, and warns once where it does: the default is 16 MiB, and was 128 MiB. A policy with max-length-bytes for the
// queue PREFIX.hello bounds what strangers' hellos take while controllers are busy. What no setting bounds is how many
// messages a VM sends that are not too large: the broker slows its connection down, and takes memory for what waits.
//
// # Connections
//
// An agent has one connection with two channels, a controller one with three. An agent whose controller has died, or that
// finds none, as the broker says, keeps its connection for 15 s, to dial over it again: most of what a fleet costs a broker
// that comes to another controller are connections and queues. A VM on whose link nothing happens costs 480 messages an
// hour: a ping and a pong every 15 s. Let each node open more files than it has VMs, with as many again for those that
// dial while the last connections are cleared away (ulimit -n, LimitNOFILE of its unit): a node that has none left does
// not refuse connections only, its own parts fail and it may end.
//
// Names of queues and routing keys are of at most 255 bytes: of a VM's name, what is not a letter, a digit, "-" or "_"
// takes three bytes.
//
// A broker that is down, restarted without its data, or refuses credentials or permissions is tried again for as long as
// it takes: by a controller after pauses of at most 8 s, by an agent after those of its own backoff, of at most 30 s.
// Listener.Ready says whether there is a connection, and why not.
//
// Several controllers may listen on one broker: each hello goes to one of them. A controller that starts says so, and each
// agent asks, within a second, whether its own lives: what one that has died has served is taken by another then. Where
// none starts it is noticed within the keepalive, 15 s.
package rabbitmq
