// Package uplink carries acks and events as HTTP POSTs. It is the upper half of the SSE and long-poll
// transports, and by itself a Transport for the up side of transport.Split: commands down any way,
// acks and events up by HTTP.
//
//	POST …/vms/{vm_id}/commands/ack   one ack, or an array of them; 200 means recorded
//	POST …/vms/{vm_id}/events         one event, or an array; none says that the VM is alive
//	POST …/vms/{vm_id}/heartbeat      a heartbeat, as the deployed agents send it
//
// Any other status is a problem document (RFC 9457) whose code is a transport.Code. Where some acks of
// an array are refused the others are recorded, the status is 409, and the document lists the refused
// ones by index. ?instance= names the agent's process; it may be left out.
package uplink
