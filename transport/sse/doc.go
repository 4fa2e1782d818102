// Package sse carries links over Server-Sent Events: commands come down one HTTP response that never
// ends, and acks and events go up by the POSTs of package uplink.
//
//	GET …/vms/{vm_id}/commands/stream
//
//	id: CURSOR
//	event: command
//	data: {"id":"…","type":"drain",…}
//
// Last-Event-ID, or ?after=, resumes. Comments keep the stream alive. Where the controller ends the
// stream it says why: "event: close", with a transport error as data.
//
// curl is an agent:
//
//	curl -N http://127.0.0.1:8080/api/v1/vms/vm-1/commands/stream
//	curl -d '{"command_id":"…","status":"processed"}' http://127.0.0.1:8080/api/v1/vms/vm-1/commands/ack
//
// An agent that promises to be heard of (?alive=15s, and then a POST at least that often) is known to
// be dead after two and a half times that; the stream of one that does not ends after ten minutes at
// most, and is to be opened again.
package sse
