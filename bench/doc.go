// Package bench measures what a deployment chooses a transport by: the time of a command and its final
// ack, alone and at a steady rate, how many go through at what cost, what an idle VM costs, and how long it
// takes until many VMs that dial at once have what waited for them, over loopback or a network that is slow
// on purpose. Beside each of ours there is a bare loop, the least that could do the same and promises
// nothing; the two take turns, so that their ratio holds on a noisy machine.
//
// The controller is in this process, and the agents are in another: a program that measures calls
// RunChild when it is started as Options.Program. `miglink bench` is one.
//
//	go run ./cmd/miglink bench
//	go test -run '^$' -bench Program -benchtime 1x ./bench    # the size of a small agent
package bench
