// Package bench measures what a deployment chooses a transport by: the time of a command and its final
// ack, alone and at a steady rate, how many go through at what cost, also on disk, what an idle VM costs and one
// that has gone, how long it takes until many VMs that dial at once have what waited for them, what a fleet and its
// commands go through when the controller is killed, what a broadcast takes, and what becomes of a command's cost as
// fleet and ledger grow; over loopback or a network that is bad on purpose, on all CPUs or on one. Beside each of ours
// there is a bare loop, the least that could do the same and promises nothing; the two take turns, so that their
// ratio holds on a noisy machine. Report.Judge compares a run with the goals of this library.
//
// The controller is in this process, and the agents are in another; where it is killed, the controller has one of
// its own. A program that measures calls RunChild when it is started as Options.Program. `miglink bench` is one. With
// Options.Controller it is a controller elsewhere that is measured, as a caller of its admin API sees it.
//
//	go run ./cmd/miglink bench --goals
//	go run ./cmd/miglink bench --one-cpu --measures roundtrip,throughput --goals
//	go run ./cmd/miglink bench --delay 20ms --loss 0.01 --measures roundtrip,load
//	go run ./cmd/miglink bench --measures reconnect --outage 10s --html reconnect.html
//	go run ./cmd/miglink bench --controller https://controller.example.com --token-file token
//	go test -run '^$' -bench Program -benchtime 1x ./bench    # the size of a small agent
package bench
