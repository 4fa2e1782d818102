// Package uplink carries acks and events as HTTP POSTs. It is the upper half of the SSE and long-poll
// transports, and by itself a Transport for the up side of transport.Split: commands down any way,
// acks and events up by HTTP.
//
//	POST …/vms/{vm_id}/commands/ack   one ack, or an array of them; 200 means recorded
//	POST …/vms/{vm_id}/events         one event, or an array; none says that the VM is alive
//	POST …/vms/{vm_id}/heartbeat      a heartbeat, as the deployed agents send it
//
// An answer counts with {"recorded":n} or {"taken":n} for what was sent. An error is a problem document (RFC 9457) of the
// type urn:miglink:error:CODE, where CODE is a transport.Code. Whatever else answers is something in between, which knows
// nothing of what was sent: a Link sends it again until the controller answers, in smaller bodies at 413.
//
// Where some acks of an array are refused the others are recorded, the status is 409, and the document lists the refused
// ones by index. ?instance= names the agent's process; it may be left out.
package uplink
