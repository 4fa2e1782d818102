// Package admin is the operator's HTTP API of a controller, to be mounted or not, and its client.
//
//	POST   /commands                        send: a Send as JSON (ttl and run_timeout like "90s"); 201 created, 200 known already
//	GET    /commands/{id}?wait=30s          status and history; with wait, once it is settled or the time is up
//	POST   /commands/{id}/cancel            {"reason":"…"}
//	POST   /commands/{id}/settle            {"stage":"dead","reason":"…"}: what nobody will answer ends, by default as dead
//	GET    /unsettled                       commands of all VMs that are not settled, by VM; state is a stage
//	GET    /vms                             the fleet, by name; state is online, detached or offline
//	GET    /vms/{vm_id}                     presence of one VM
//	POST   /vms/{vm_id}/forget              {"force":false}: ends what waits for a VM, and drops it from the fleet
//	GET    /vms/{vm_id}/commands            its commands, newest first; ?before=SEQ&limit=N
//	GET    /watch                           notices as they happen, as Server-Sent Events; ?vm_id= for one VM
//
// What changes something is sent as application/json (curl --json '{…}' URL), and refused with 415 else. A page in a browser
// may not use the API, whoever looks at it: see package transport/web, and Options.Hosts.
//
// A request means all that it says: a field of its body or a parameter of its query that is not known is refused as invalid,
// with the nearest that is, and so is one that is there twice, and anything after the JSON. Field names are lower-case.
//
// Lists come in pages of up to 4 MiB. One that ends with "more":true goes on: the commands of a VM at its "before", the
// fleet and what is unsettled at its "after". These two take after, limit (100, at most 1000), match (a pattern of VMs, as
// in a Grant) and state. A page may be empty and go on, where most is not what was asked for, or not for one to read.
//
// Errors are problem documents (RFC 9457) whose code is a transport.Code. Parameters of commands are in
// no answer: they may be secret.
//
// Options.Authenticator says who calls, and what that one may do, by grants like "read@pool-*" and
// "send:drain@pool-*" (see Grant). What no grant allows is refused as forbidden, with the grant that it needs. A
// command that one may not read is answered like one that does not exist, and fleets, lists and watches leave out
// what one may not read. To cancel a command takes a grant to send it, to settle one
// a grant like "settle:drain@pool-*", and to forget a VM one for all types, like "settle@pool-*". A watch ends when its credentials do, with
// "event: close" and credentials_expired in its data.
//
// Options.Audit gets a record of each request: of what changes something before it is done. Package controller/audit
// keeps them in a file.
package admin
