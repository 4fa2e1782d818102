// Package rabbitmq carries links over a RabbitMQ broker: the controller and the agents are clients of it,
// and need not reach each other. It speaks AMQP 0-9-1, by github.com/rabbitmq/amqp091-go: the ledger is
// what keeps commands, and a message that is lost on the way ends its link, which resumes.
//
// Under a prefix, "miglink" by default, with the VM's name as one word:
//
//	PREFIX                     durable topic exchange, which the controller declares
//	hello.VM.SESSION           routing key of an agent's first frame
//	down.VM.SESSION            routing key of the controller's frames
//	up.VM.SESSION              routing key of the agent's frames, after the first
//	PREFIX.hello               queue that all controllers consume; a hello waits in it for 10 s
//	PREFIX.down.VM.SESSION     queue of a VM, exclusive: it goes with the agent's connection, which the
//	                           broker's heartbeat ends within 30 s where the agent cannot
//	PREFIX.up.CONTROLLER       queue of a controller, exclusive likewise
//
// A message is a frame of package framed as JSON; an empty one says that the other end is gone. Messages
// are confirmed and mandatory: the broker returns what no queue takes, and the link ends at once. Whoever
// binds a queue of their own to down.# or up.# can watch, secrets included; nothing is returned then, and
// a link whose end died is noticed by its silence only, after twice the keepalive.
//
// An agent needs to declare its own queues and to use the exchange, with the routing keys of its VM:
//
//	rabbitmqctl set_permissions vm-1 ^miglink\.down\.vm-1\..* ^(miglink|miglink\.down\.vm-1\..*)$ ^(miglink|miglink\.down\.vm-1\..*)$
//	rabbitmqctl set_topic_permissions vm-1 miglink ^(hello|up)\.vm-1\. ^down\.vm-1\.
//
// and a controller everything of the prefix:
//
//	rabbitmqctl set_permissions controller ^miglink ^miglink ^miglink
//
// An agent has one connection with two channels, a controller one with three. A VM on whose link nothing
// happens costs 480 messages an hour: a ping and a pong every 15 s.
//
// Several controllers may listen on one broker: each hello goes to one of them, and what one that dies has
// served is noticed within the keepalive, 15 s, and taken by another.
package rabbitmq
