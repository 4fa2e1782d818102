package conformance

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
)

// ends are what must end one link, and nothing else: not its controller, and no link of another VM.
var ends = []Scenario{
	{
		Number: 95, Name: "broken-off", NeedsBytes: true,
		Given: "clients that break off at every step of a handshake, of a request and of a link, in every way", When: "they do, again and again", Then: "others are served",
		Run: func(w *World) { w.besideOthers(breakOffRequests, breakOffConversations) },
	},
	{
		Number: 96, Name: "panic-in-a-hook",
		Given: "an embedder's OnEvent that panics at one event", When: "a VM reports that", Then: "its report is refused as internal, its link lives, and others are served",
		Run: func(w *World) {
			w.start(controller.Options{OnEvent: func(_ context.Context, _ string, e event.Event) error {
				if e.Type == "poison" {
					panic("on purpose")
				}
				return nil
			}})
			w.agent("other", agentOptions{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			for range 3 {
				w.is(l.Report(w.ctx, event.Event{Type: "poison", Timestamp: time.Now()}), transport.ErrInternal, "report what panics")
				w.ok(l.Report(w.ctx, event.Event{Type: "x", Timestamp: time.Now()}), "report something else over the same link")
			}
			r := w.send("vm", command.Options{})
			w.check(l.receive(1)[0].ID == r.ID(), "another command came")
			w.settled(w.send("other", command.Options{}), ack.Succeeded)
		},
	},
	{
		Number: 97, Name: "panic-in-an-authenticator", NeedsAuth: true,
		Given: "an Authenticator that panics at one token", When: "a VM shows that", Then: "it is not let in, nobody takes it for online, and others are served",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.agent("other", agentOptions{})
			w.settled(w.send("other", command.Options{}), ack.Succeeded)
			good := w.env.credentials.shown()
			w.env.credentials.show(w.env.credentials.issue(pass{panics: true}))
			_, err := w.tryDial(transport.Hello{VM: "vm", Instance: "a"})
			w.check(err != nil, "it was let in")
			w.env.credentials.show(good)
			_, known := w.controller.Presence("vm")
			w.check(!known, "it is taken for online")
			w.settled(w.send("other", command.Options{}), ack.Succeeded)
			w.dial(transport.Hello{VM: "vm", Instance: "a"})
		},
	},
}

// breakOffConversations has clients break off in frames.
func breakOffConversations(w *World) {
	steps := []func(t *talk){
		func(*talk) {}, // before the hello
		func(t *talk) { t.say(t.hello()) },
		func(t *talk) { t.greet() },
		func(t *talk) {
			t.greet()
			w.send(t.vm, command.Options{}) // is being written, or has been
		},
		func(t *talk) {
			t.greet()
			r := w.send(t.vm, command.Options{})
			t.say(`"acks":[{"command_id":"` + r.ID() + `","status":"started"}]`) // is being recorded
		},
	}
	ways := []func(t *talk){
		func(*talk) {}, // silence
		func(t *talk) { t.Close() },
		func(t *talk) { t.raw(`{"n":`) },
		func(t *talk) { t.raw(""); t.Close() },
		func(t *talk) { t.raw("\x00\xff"); t.Close() },
		func(t *talk) { t.sayAs(7, `"ping":true`); t.Close() },
		func(t *talk) {
			t.say(`"close":{"code":"moved","message":"` + strings.Repeat(`\u001b`, 1000) + `"}`)
			t.Close()
		},
		func(t *talk) {
			for range 50 { // also while the end is being told
				t.say(`"events":[{"type":"x"}]`)
				t.raw(`{"n":0}`)
			}
		},
	}
	for s, step := range steps {
		for _, way := range ways {
			t := w.talk(vmName(s))
			step(t)
			way(t)
		}
		w.settled(w.send("other", command.Options{}), ack.Succeeded)
	}
}

// breakOffRequests has clients break off in HTTP.
func breakOffRequests(w *World) {
	u, err := url.Parse(w.env.HTTP())
	w.ok(err, "parse the URL")
	r := w.send("vm", command.Options{})
	body := `[{"command_id":"` + r.ID() + `","status":"started"}]`
	token := "Authorization: Bearer " + w.env.credentials.shown() + "\r\n"
	requests := []string{
		"GET " + u.Path + "/vms/vm/commands?wait=10s HTTP/1.1\r\nHost: " + u.Host + "\r\n" + token + "\r\n",
		"GET " + u.Path + "/vms/vm/commands/stream HTTP/1.1\r\nHost: " + u.Host + "\r\n" + token + "\r\n",
		"POST " + u.Path + "/vms/vm/commands HTTP/1.1\r\nHost: " + u.Host + "\r\n" + token + "Content-Length: 1000\r\n\r\n" + body,
		"POST " + u.Path + "/vms/vm/commands/ack HTTP/1.1\r\nHost: " + u.Host + "\r\n" + token + "Content-Length: 1000\r\n\r\n" + body,
		"POST " + u.Path + "/vms/vm/events HTTP/1.1\r\nHost: " + u.Host + "\r\n" + token + "Transfer-Encoding: chunked\r\n\r\nffff\r\n[",
	}
	for _, request := range requests {
		for _, size := range []int{1, len(request) / 2, len(request) - 2, len(request)} {
			for _, reset := range []bool{false, true} {
				w.breakOff(u.Host, request[:size], reset)
			}
		}
		w.settled(w.send("other", command.Options{}), ack.Succeeded)
	}
}

// breakOff sends a part of a request, and closes the connection, where TCP takes back what was not read.
func (w *World) breakOff(host, part string, reset bool) {
	c, err := (&net.Dialer{Timeout: patience}).DialContext(w.ctx, "tcp", host)
	w.ok(err, "connect")
	defer c.Close()
	_, err = io.WriteString(c, part)
	w.check(err == nil || errors.Is(err, net.ErrClosed), "begin a request: %v", err)
	if tcp, ok := c.(*net.TCPConn); ok && reset {
		w.ok(tcp.SetLinger(0), "have the connection reset")
	}
}
