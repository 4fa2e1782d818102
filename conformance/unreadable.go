package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
	"github.com/miglink/miglink/transport"
)

// unreadable are documents that could be accepted, and not read again: by a ledger when it opens, by an agent's journal, or
// by whoever gets them next.
var unreadable = []Scenario{
	{
		Number: 93, Name: "unreadable-result",
		Given: "a client whose acks hold results that nobody could read again, beside good ones", When: "it sends them, in one batch",
		Then: "those are refused as invalid, the others are recorded, and the ledger opens again",
		Run: func(w *World) {
			w.onDisk()
			w.start(controller.Options{})
			w.agent("other", agentOptions{})
			w.ackUnreadable()
			if f := w.subject.Facts; !f.NoHTTP && !f.NoWire {
				w.postUnreadable()
			}
			if w.subject.Facts.Frames {
				w.sayUnreadable()
			}
			w.settled(w.send("other", command.Options{}), ack.Succeeded)
			w.opensAgain()
		},
	},
	{
		Number: 94, Name: "unreadable-parameters",
		Given: "parameters that nobody could read", When: "they are sent, or come from a controller that takes them",
		Then: "the send is refused at once; the agent rejects that command, runs those beside it, and its link lives",
		Run: func(w *World) {
			w.start(controller.Options{})
			for what, parameters := range badParameters() {
				cmd := w.config(command.Options{})
				cmd.Parameters = command.Parameters(parameters)
				_, err := w.controller.Send(w.ctx, "vm", cmd)
				w.check(errors.Is(err, transport.ErrInvalid) || errors.Is(err, transport.ErrTooLarge), "parameters that are %s are answered with %v", what, err)
				_, err = w.controller.Get(w.ctx, cmd.ID)
				w.is(err, transport.ErrUnknownCommand, "get what was refused")
			}
			w.deliverUnreadable()
		},
	},
}

func deep(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }

// badResults are JSON that nobody is to accept, by what is wrong with it. They fit every message of JSON.
func badResults() map[string]string {
	return map[string]string{
		"one level too deep": deep(ack.MaxDepth + 1),
		"much too deep":      deep(5000),
		"of objects":         strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000),
		"with a NUL":         `{"a":"\u0000"}`,
		"with half a pair":   `["\ud83d"]`,
		"not UTF-8":          "\"\xff\"",
		"too large":          `"` + strings.Repeat("x", ack.MaxResult) + `"`,
	}
}

func badParameters() map[string]string {
	bad := map[string]string{"no object": "[1]", "no JSON": `{"a":`, "too large": `{"a":"` + strings.Repeat("x", command.MaxParameters) + `"}`}
	for what, result := range badResults() {
		if what != "too large" {
			bad[what] = `{"a":` + result + "}"
		}
	}
	return bad
}

// couple is a command with a bad result, and one beside it with a good one.
type couple struct {
	what, result string
	bad, good    *controller.Receipt
}

// couples sends commands to a VM, a couple for each bad result.
func (w *World) couples(vm string) (all []couple) {
	for what, result := range badResults() {
		all = append(all, couple{what, result, w.send(vm, command.Options{}), w.send(vm, command.Options{})})
	}
	return all
}

const goodResult = `{"a":[1]}`

// ackUnreadable acks by the client half, as an agent without checks of its own would.
func (w *World) ackUnreadable() {
	couples := w.couples("vm")
	l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
	l.receive(2 * len(couples))
	var acks []ack.Ack
	for _, c := range couples {
		acks = append(acks,
			ack.Ack{CommandID: c.bad.ID(), Stage: ack.Succeeded, Result: json.RawMessage(c.result)},
			ack.Ack{CommandID: c.good.ID(), Stage: ack.Succeeded, Result: json.RawMessage(goodResult)})
	}
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	err := l.Ack(ctx, acks...)
	for i, c := range couples {
		w.is(transport.AckError(err, 2*i), transport.ErrInvalid, "ack with a result that is "+c.what)
		w.ok(transport.AckError(err, 2*i+1), "ack beside a result that is "+c.what)
	}
	w.halfRecorded(couples)
	for _, c := range couples {
		l.mustSay(c.bad.ID(), ack.Failed) // over the same link
	}
}

// postUnreadable acks as curl would.
func (w *World) postUnreadable() {
	couples := w.couples("by-hand")
	w.poll(w.ctx, "by-hand", nil)
	var acks []string
	for _, c := range couples {
		acks = append(acks, ackOf(c.bad, c.result), ackOf(c.good, goodResult))
	}
	status, answer := w.post("by-hand", "commands/ack", "["+strings.Join(acks, ",")+"]", nil)
	w.check(status == http.StatusConflict, "answered with %d: %s", status, answer)
	w.check(strings.Count(answer, `"code":"invalid"`) == len(couples), "answered with %s", answer)
	w.halfRecorded(couples)
	status, answer = w.post("by-hand", "commands/ack", "["+ackOf(couples[0].bad, "{")+"]", nil)
	w.check(status == http.StatusBadRequest && strings.Contains(answer, `"code":"invalid"`), "no JSON is answered with %d: %s", status, answer)
}

// sayUnreadable acks in frames; also with results that are no JSON, where frames are not JSON themselves.
func (w *World) sayUnreadable() {
	couples := w.couples("in-frames")
	t := w.talk("in-frames").greet()
	for got := 0; got < 2*len(couples); {
		got += len(t.hear().Commands)
	}
	var acks []string
	for _, c := range couples {
		acks = append(acks, ackOf(c.bad, c.result), ackOf(c.good, goodResult))
	}
	n := t.say(`"acks":[` + strings.Join(acks, ",") + `]`)
	h := t.recorded(n)
	w.check(len(h.Recorded.Refused) == len(couples), "the acks are answered with %+v", h.Recorded)
	w.halfRecorded(couples)
	by, ok := t.Frames.(BytesResults)
	if !ok {
		return
	}
	for _, result := range []string{"{", "no JSON", "\x00", "\xff", deep(10_000), deep(30_000)} {
		r := w.send("in-frames", command.Options{})
		n := t.number()
		w.ok(by.SendResult(n, r.ID(), []byte(result)), "send a result")
		h := t.recorded(n)
		w.check(len(h.Recorded.Refused) == 1, "the result %.20q is answered with %+v", result, h.Recorded)
		w.check(!w.get(r).State.Settled(), "the result %.20q was recorded", result)
	}
}

func ackOf(r *controller.Receipt, result string) string {
	return fmt.Sprintf(`{"command_id":%q,"status":"succeeded","result":%s}`, r.ID(), result)
}

// halfRecorded wants the good of each couple recorded, and nothing of the bad.
func (w *World) halfRecorded(couples []couple) {
	for _, c := range couples {
		good := w.settled(c.good, ack.Succeeded)
		w.check(string(good.Result) == goodResult, "the result beside one that is %s is %s", c.what, good.Result)
		bad := w.get(c.bad)
		w.check(!bad.State.Settled() && bad.Result == nil, "a result that is %s was recorded: %s", c.what, bad.State.Stage)
	}
}

// other is a controller that takes any parameters: it puts them into commands, by ID.
type other struct {
	transport.Transport
	mu         sync.Mutex
	parameters map[string]string
}

func (o *other) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	l, err := o.Transport.Dial(ctx, h)
	if err != nil {
		return nil, err
	}
	return otherLink{l, o}, nil
}

type otherLink struct {
	transport.Link
	o *other
}

func (l otherLink) Receive(ctx context.Context) ([]transport.Delivery, error) {
	page, err := l.Link.Receive(ctx)
	l.o.mu.Lock()
	defer l.o.mu.Unlock()
	for i := range page {
		if p, ok := l.o.parameters[page[i].ID]; ok {
			page[i].Parameters = command.Parameters(p)
		}
	}
	return page, err
}

func (w *World) deliverUnreadable() {
	o := &other{Transport: w.controller, parameters: map[string]string{}}
	w.front.mu.Lock()
	w.front.to = o
	w.front.mu.Unlock()
	var couples []couple
	for what, parameters := range badParameters() {
		if what == "no JSON" || what == "too large" { // not in a message of JSON, nor in one that every transport takes
			continue
		}
		cmd := w.config(command.Options{})
		o.mu.Lock()
		o.parameters[cmd.ID] = parameters
		o.mu.Unlock()
		couples = append(couples, couple{what: what, bad: w.sendCommand("vm", cmd), good: w.send("vm", command.Options{})})
	}
	w.agent("vm", agentOptions{})
	for _, c := range couples {
		e := w.settled(c.bad, ack.Rejected)
		w.check(strings.Contains(e.Reason, "parameters"), "parameters that are %s are rejected with %q", c.what, e.Reason)
		w.check(w.runs(c.bad.ID()) == 0, "parameters that are %s reached a handler", c.what)
		w.check(e.State.Attempt == 1, "parameters that are %s took %d deliveries", c.what, e.State.Attempt)
		w.settled(c.good, ack.Succeeded)
	}
	w.settled(w.send("vm", command.Options{}), ack.Succeeded)
}

// disk is a ledger on a disk, in a directory that goes with it.
type disk struct {
	*bolt.Ledger
	dir string // empty: it is another's by now
}

func (d *disk) Close() error {
	err := d.Ledger.Close()
	if d.dir != "" {
		err = errors.Join(err, os.RemoveAll(d.dir))
	}
	return err
}

// onDisk puts the controller's ledger on a disk, whatever the subject's is.
func (w *World) onDisk() {
	dir, err := os.MkdirTemp("", "miglink-conformance-")
	w.ok(err, "make a directory")
	w.openDisk(dir)
}

func (w *World) openDisk(dir string) {
	l, err := bolt.Open(dir, bolt.Options{})
	if err != nil {
		w.fail("open the ledger: %w", errors.Join(err, os.RemoveAll(dir)))
	}
	w.ledger = &disk{l, dir}
	w.ledgers = append(w.ledgers, w.ledger)
}

// opensAgain closes the ledger that onDisk has opened, and opens it: all that was known is.
func (w *World) opensAgain() {
	old := w.ledger.(*disk)
	before := w.everything()
	w.controller.Close()
	dir := old.dir
	old.dir = ""
	w.ok(old.Close(), "close the ledger")
	w.openDisk(dir)
	w.start(controller.Options{})
	after := w.everything()
	w.check(len(before) == len(after), "%d commands before the ledger was closed, %d after", len(before), len(after))
	for id, e := range after {
		was := before[id]
		w.check(was.State == e.State && string(was.Result) == string(e.Result) && was.Code == e.Code && was.Reason == e.Reason, "%s was %+v (%s), and is %+v (%s)", id, was.State, was.Result, e.State, e.Result)
	}
}

// everything is all commands of the ledger, by ID.
func (w *World) everything() map[string]ledger.Entry {
	all := map[string]ledger.Entry{}
	vms, err := w.ledger.VMs(w.ctx, ledger.VMQuery{})
	w.ok(err, "list the VMs")
	for _, vm := range vms {
		list, err := w.ledger.List(w.ctx, vm.Name, 0, 1<<20)
		w.ok(err, "list the commands")
		for _, e := range list {
			all[e.Command.ID] = *e
		}
	}
	return all
}
