// Package gcppubsub carries links over Google Cloud Pub/Sub: the controller and the agents are clients of
// it, and need not reach each other. It uses cloud.google.com/go/pubsub/v2, by its generated clients: the
// ledger is what keeps commands, and a message that is lost or late ends its link, which resumes.
//
// Under a prefix, "miglink" by default:
//
//	PREFIX-hello           topic of agents' first frames, and the subscription that all controllers share
//	PREFIX-up              topic of agents' frames, after the first
//	PREFIX-up-CONTROLLER   subscription of a controller to PREFIX-up, with the filter attributes.to
//	PREFIX-link-SESSION    topic of the controller's frames on one link, and the agent's subscription to it
//
// A message is a frame of package framed as JSON; an empty one says that the other end is gone. Its
// ordering key is the link's SESSION, or in a hello the VM's name, and its attributes are
//
//	session   the link, of 1 to 64 letters, digits, "-" and "_"
//	vm        the VM, in a hello
//	n         numbers the messages of each direction of a link from 1, the hello being number 1
//	from      of a controller's messages: the CONTROLLER
//	to        of an agent's messages, after the hello: the CONTROLLER
//
// A message whose number has come before is dropped, and one that skips a number ends its link. The
// topic and the subscription of a link are made by the controller that takes the hello, which is how two
// controllers do not take the same, and go with the link. They are made once the credentials of the hello are found good
// and the VM is let in: for a hello that is refused, whoever refuses it and why, nothing is made, and so there is no way
// to say so. Its agent gives up after 15 s. That an agent was superseded, that its credentials are revoked, and when to
// come back it hears on a link that is open, and not when it dials. Those of a controller that was killed are
// deleted by another, a day after: its own subscription has expired then. A link has resources of its own
// because Pub/Sub charges for what a filter drops, and because streams that share a subscription, as
// those of a half-open link and of the next, take each other's messages.
//
// # What a project needs
//
// The Pub/Sub API enabled, and nothing made by hand. A controller needs to make, use and delete topics and
// subscriptions, in both projects where there are two:
//
//	gcloud iam roles create miglinkController --project PROJECT --permissions pubsub.topics.attachSubscription,pubsub.topics.create,pubsub.topics.delete,pubsub.topics.get,pubsub.topics.list,pubsub.topics.publish,pubsub.subscriptions.consume,pubsub.subscriptions.create,pubsub.subscriptions.delete,pubsub.subscriptions.get
//	gcloud projects add-iam-policy-binding PROJECT --member CONTROLLER --role projects/PROJECT/roles/miglinkController
//
// An agent needs roles/pubsub.publisher on the topics PREFIX-hello and PREFIX-up, which is pubsub.topics.publish
// and nothing else, and to consume its links' subscriptions. Those come and go, and Pub/Sub knows no IAM
// conditions on names: the role is one of a project. An agent might then consume any subscription whose name it
// knows. Those of links are random; that of hellos is not, so where agents are not trusted with each other's
// hellos, links go to a project of their own, gcppubsub://PROJECT/PROJECT-OF-LINKS, and the role is given there:
//
//	gcloud pubsub topics create miglink-hello miglink-up --project PROJECT
//	gcloud pubsub topics add-iam-policy-binding miglink-hello --project PROJECT --member MEMBER --role roles/pubsub.publisher
//	gcloud pubsub topics add-iam-policy-binding miglink-up --project PROJECT --member MEMBER --role roles/pubsub.publisher
//	gcloud iam roles create miglinkAgent --project PROJECT-OF-LINKS --permissions pubsub.subscriptions.consume
//	gcloud projects add-iam-policy-binding PROJECT-OF-LINKS --member MEMBER --role projects/PROJECT-OF-LINKS/roles/miglinkAgent
//
// Do not give an agent roles/pubsub.subscriber: it holds pubsub.topics.attachSubscription, with which one could
// attach a subscription in a project of its own to any topic of this one.
//
// Pub/Sub cannot say that an agent publishes for its own VM only, nor does it tell who has published: whoever
// may say hello may do so for any VM, unless its token is checked (ListenOptions.Authenticator).
//
// Credentials are the application's default ones, as of all Google's libraries, and PUBSUB_EMULATOR_HOST
// names an emulator. A project may have 10,000 topics and 10,000 subscriptions, so about as many VMs at a
// time. Who adds a subscription to PREFIX-hello and PREFIX-up, or to the topic of a link, can watch,
// secrets included.
//
// # When Pub/Sub is away
//
// A project that cannot be reached, or refuses credentials, is tried again for as long as it takes, and so it is where no
// credentials are found: by a controller after pauses of at most 8 s, by an agent after those of its own backoff, of at most
// 30 s. Listener.Ready says whether it is there, and why not.
//
// # What a VM costs
//
// Pub/Sub charges for bytes published and delivered, at least 1,000 each per message, 40 dollars per TiB
// (in 2026, the first 10 GiB of a month free). A VM on whose link nothing happens sends a ping each
// minute and gets a pong: 120 messages an hour, 2,880 a day, published once and delivered once each,
// 5.76 MB or 0.0002 dollars a day; with 15 s, as other transports have, it would be 0.0008. Each further
// controller adds a delivery of every agent's messages, dropped by its filter: 1.44 MB a day. A command
// that succeeds takes 7 messages, the command and three acks with their answers, when nothing else
// happens: ten of them a day are 0.14 MB.
//
// The price of the slower keepalive is that a VM that vanishes is noticed after two minutes, and that one
// whose controller was killed is taken by another within two. ListenOptions.Keepalive changes it.
package gcppubsub
