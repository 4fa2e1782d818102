// Package admin is the operator's HTTP API of a controller, to be mounted or not, and its client.
//
//	POST   /commands                        send: a Send as JSON; 201 created, 200 known already
//	GET    /commands/{id}?wait=30s          status and history; with wait, once it is settled or the time is up
//	POST   /commands/{id}/cancel            {"reason":"…"}
//	GET    /vms                             the fleet
//	GET    /vms/{vm_id}                     presence of one VM
//	GET    /vms/{vm_id}/commands            its commands, newest first; ?before=SEQ&limit=N
//	GET    /watch                           notices as they happen, as Server-Sent Events; ?vm_id= for one VM
//
// Errors are problem documents (RFC 9457) whose code is a transport.Code. Parameters of commands are in
// no answer: they may be secret.
//
// Options.Authenticator says who calls, and what that one may do, by grants like "read@pool-*" and
// "send:drain@pool-*" (see Grant). What no grant allows is refused as forbidden, with the grant that it needs. A
// command that one may not read is answered like one that does not exist, and fleets, lists and watches leave out
// what one may not read. To cancel a command takes a grant to send it. A watch ends when its credentials do, with
// "event: close" and credentials_expired in its data.
//
// Options.Audit gets a record of each request: of a send and a cancel before it is done. Package controller/audit
// keeps them in a file.
package admin
