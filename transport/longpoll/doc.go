// Package longpoll carries links over plain HTTP requests: a GET that the controller holds until
// commands are due, and the POSTs of package uplink. It passes whatever HTTP passes.
//
//	GET …/vms/{vm_id}/commands?after=CURSOR&wait=30s
//	{"vm_id":"vm-1","commands":[…],"cursor":"…"}
//
// A poll may bring acks, as a POST: short commands' go with the next poll, so that they take one request each. A poll
// that is held for long over HTTP/1.1 is parked: its connection is taken over from net/http, and goes back with the
// answer.
//
// Without wait it answers at once, as the deployed pollers expect. What was written is not taken to
// have arrived: the cursor of the next poll says what did. A second poll of a VM ends the first.
//
// curl is an agent:
//
//	curl 'http://127.0.0.1:8080/api/v1/vms/vm-1/commands?wait=30s'
//	curl -d '{"command_id":"…","status":"processed"}' http://127.0.0.1:8080/api/v1/vms/vm-1/commands/ack
//	curl 'http://127.0.0.1:8080/api/v1/vms/vm-1/commands?wait=30s&after=…'
package longpoll
