package conformance

import (
	"errors"
	"strings"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport"
)

// brief is how long a token is good that is to expire while it is used.
const brief = time.Second

var identity = []Scenario{
	{
		Number: 55, Name: "no-token", NeedsAuth: true,
		Given: "a VM without a token", When: "it dials", Then: "it is unauthorized, gets nothing, and nobody takes it for online; with one it gets what has waited",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.shutOut("", transport.ErrUnauthorized)
		},
	},
	{
		Number: 56, Name: "bad-token", NeedsAuth: true,
		Given: "a VM with a token that nobody has issued", When: "it dials", Then: "it is unauthorized, as without one",
		Run: func(w *World) {
			w.start(controller.Options{})
			good := w.env.credentials.shown()
			for _, bad := range []string{"x", good + "x", strings.ToUpper(good), "Bearer " + good, strings.Repeat("x", 4000)} {
				w.shutOut(bad, transport.ErrUnauthorized)
			}
		},
	},
	{
		Number: 57, Name: "expires-mid-stream", NeedsAuth: true,
		Given: "a link whose token expires", When: "that time comes", Then: "the link is closed with a code that says so, and the token opens none any more",
		Run: func(w *World) {
			w.start(controller.Options{})
			expires := time.Now().Add(brief)
			w.env.credentials.show(w.env.credentials.issue(pass{vm: "vm", expires: expires}))
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			r := w.send("vm", command.Options{})
			w.check(l.receive(1)[0].ID == r.ID(), "another command came")
			w.is(l.end(), transport.ErrCredentialsExpired, "the end of the link")
			w.check(!time.Now().Before(expires), "the link ended before its time")
			w.until("vm", "detached", func(p controller.Presence) bool { return !p.Attached })
			w.refusedDial(transport.Hello{VM: "vm", Instance: "a"}, transport.ErrCredentialsExpired)
		},
	},
	{
		Number: 58, Name: "rotated", NeedsAuth: true,
		Given: "an agent whose tokens expire again and again", When: "commands are sent all the while", Then: "each runs once, in order, and none waits for more than a dial",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.env.credentials.showEach(func() string {
				return w.env.credentials.issue(pass{vm: "vm", expires: time.Now().Add(brief)})
			})
			w.agent("vm", agentOptions{})
			for end := time.Now().Add(5 * brief / 2); time.Now().Before(end); {
				w.settled(w.send("vm", command.Options{}), ack.Succeeded)
				w.send("vm", command.Options{})
			}
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
			w.check(w.env.credentials.count() > 2, "the tokens were not rotated")
		},
	},
	{
		Number: 59, Name: "foreign-vm", NeedsAuth: true,
		Given: "a VM with a token of its own", When: "it dials as another VM", Then: "it is forbidden; the other keeps its link, and its commands",
		Run: func(w *World) {
			w.start(controller.Options{})
			victim := w.dial(transport.Hello{VM: "victim", Instance: "v"})
			w.until("victim", "online", func(p controller.Presence) bool { return p.Online })
			receive := func() []transport.Delivery { return victim.receive(1) }
			if w.subject.Facts.Untold { // it takes long, and a link lives while somebody receives
				got := make(chan []transport.Delivery, 1)
				go func() {
					page, _ := victim.Receive(w.ctx)
					got <- page
				}()
				receive = func() []transport.Delivery { return <-got }
			}
			w.env.credentials.show(w.env.credentials.issue(pass{vm: "vm"}))
			w.refusedDial(transport.Hello{VM: "victim", Instance: "x"}, transport.ErrForbidden)
			w.refusedDial(transport.Hello{VM: "victim", Uplink: true}, transport.ErrForbidden)
			w.env.credentials.show(w.env.credentials.issue(pass{}))
			p, _ := w.controller.Presence("victim")
			w.check(p.Instance == "v", "the instance of the victim is %q", p.Instance)
			r := w.send("victim", command.Options{})
			page := receive()
			w.check(len(page) == 1 && page[0].ID == r.ID(), "the victim's link brought %v", page)
		},
	},
	{
		Number: 62, Name: "replayed",
		Given: "the acks of a command that has ended", When: "they are said again, in any order, over any link of the VM", Then: "nothing changes",
		Run: func(w *World) {
			w.start(controller.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			r := w.send("vm", command.Options{})
			l.receive(1)
			stages := []ack.Stage{ack.Received, ack.Started, ack.Succeeded}
			for _, s := range stages {
				l.mustSay(r.ID(), s)
			}
			before := w.get(r)
			again := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			for _, s := range append(stages, ack.Failed, ack.Started, ack.Deferred, ack.Succeeded) {
				_ = again.say(r.ID(), s) // a start may be refused
			}
			after := w.get(r)
			w.check(after.State == before.State, "%+v has become %+v", before.State, after.State)
		},
	},
}

// shutOut has a VM dial with a token that is not good, and then with one that is.
func (w *World) shutOut(token string, want error) {
	vm := vmName(len(w.sent))
	r := w.send(vm, command.Options{})
	good := w.env.credentials.shown()
	w.env.credentials.show(token)
	w.refusedDial(transport.Hello{VM: vm, Instance: "a"}, want)
	w.refusedDial(transport.Hello{VM: vm, Instance: "a", Uplink: true}, want)
	p, _ := w.controller.Presence(vm)
	w.check(!p.Online && p.Instance == "", "the VM is taken for %+v", p)
	w.check(w.get(r).State.Stage == ack.Queued, "the command is %s", w.get(r).State.Stage)
	w.env.credentials.show(good)
	w.check(w.dial(transport.Hello{VM: vm, Instance: "a"}).receive(1)[0].ID == r.ID(), "another command came")
}

// endOf is the error that a dial, or the use of its link, ends with.
func (w *World) endOf(h transport.Hello) error {
	l, err := w.tryDial(h)
	if err != nil {
		return err
	}
	defer l.Close()
	if h.Uplink {
		if err := l.say("x", ack.Received); !errors.Is(err, transport.ErrUnknownCommand) {
			return err
		}
		w.fail("an ack was taken")
	}
	return l.end()
}
