// Package simulation plays agent ⇄ faults ⇄ controller in one process under fake time, thousands of
// times, each with another plan drawn from a seed: which commands are sent and when, which links break,
// which answers are lost, when a process dies and with which journal it comes back, which disks are full,
// which machines are cloned while their agents run, which paths lose what goes in one direction, which
// clocks are off, jump, or stand while a machine sleeps. After each, every promise is checked against a
// record of the simulation's own. It has tests only.
//
//	go test ./internal/simulation -simulation.runs 20000
//	go test ./internal/simulation -simulation.seed 12345
//
// A seed replays the plan. Goroutines that are ready in the same instant of fake time may still take
// turns in another order, so a failure may need a few replays (-count).
package simulation
