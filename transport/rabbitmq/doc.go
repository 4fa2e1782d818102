// Package rabbitmq carries links over a RabbitMQ broker: the controller and the agents are clients of it,
// and need not reach each other. It speaks AMQP 0-9-1, by github.com/rabbitmq/amqp091-go: the ledger is
// what keeps commands, and a message that is lost on the way ends its link, which resumes.
//
// Under a prefix, "miglink" by default, with the VM's name as one word:
//
//	PREFIX                     durable topic exchange, which the controller declares
//	hello.VM.SESSION           routing key of an agent's first frame
//	up.VM.SESSION              routing key of the agent's frames, after the first
//	PREFIX.hello               queue that all controllers consume; a hello waits in it for 10 s
//	PREFIX.down.VM.SESSION     queue of a VM, exclusive: it goes with the agent's connection, which the
//	                           broker's heartbeat ends within 30 s where the agent cannot. The controller's
//	                           frames go to it by the default exchange, and it is bound to nothing
//	PREFIX.up.CONTROLLER       queue of a controller, exclusive likewise
//
// A message is a frame of package framed as JSON; an empty one says that the other end is gone. Messages
// are confirmed and mandatory: the broker returns what no queue takes, and the link ends at once. Whoever
// binds a queue of their own to up.# or hello.# can watch what agents say; nothing of it is returned then, and
// a controller that died is noticed by its silence only, after twice the keepalive.
//
// # Least privileges
//
// An agent needs to declare and to read its own queues, and to write to the exchange, with the routing keys of
// its VM. It can then neither hear nor say anything of another VM, nor what a controller says:
//
//	rabbitmqctl set_permissions vm-1 ^miglink\.down\.vm-1\. ^miglink$ ^miglink\.down\.vm-1\.
//	rabbitmqctl set_topic_permissions vm-1 miglink ^(hello|up)\.vm-1\. ^$
//
// and a controller everything of the prefix, and to write to the queues of VMs by the default exchange, and so to
// any queue of its vhost, which is better one of its own:
//
//	rabbitmqctl set_permissions controller ^miglink ^(miglink|amq\.default$) ^miglink
//
// Do not let an agent write to its own queues, or read the exchange: it could make an exchange of a queue's name,
// whose routing keys nobody checks, and have that hand hellos of another VM to ours. RabbitMQ does not check who
// asks, by a passive declaration, whether a queue or an exchange exists and how many messages and consumers it
// has: a VM can count the controllers. It does not limit how many queues of its own name a user declares
// (set_user_limits does so for connections and channels). The user-id of a hello, which the broker checks, is the
// Credentials' User.
//
// An agent has one connection with two channels, a controller one with three. A VM on whose link nothing
// happens costs 480 messages an hour: a ping and a pong every 15 s.
//
// Several controllers may listen on one broker: each hello goes to one of them, and what one that dies has
// served is noticed within the keepalive, 15 s, and taken by another.
package rabbitmq
