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
package admin
