package conformance

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport"
)

// short is a time that scenarios have controllers wait for.
const short = 150 * time.Millisecond

var delivery = []Scenario{
	{
		Number: 1, Name: "once-online",
		Given: "an agent that is connected", When: "a command is sent", Then: "its handler runs once and it succeeds",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.agent("vm", agentOptions{})
			w.until("vm", "online", func(p controller.Presence) bool { return p.Online })
			r := w.send("vm", command.Options{})
			w.settled(r, ack.Succeeded)
			w.check(w.runs(r.ID()) == 1, "the handler ran %d times", w.runs(r.ID()))
		},
	},
	{
		Number: 2, Name: "offline-hold",
		Given: "a VM that is offline", When: "a command is sent and the VM connects later", Then: "sending succeeds at once, and the command is delivered",
		Run: func(w *World) {
			w.start(controller.Options{})
			r := w.send("vm", command.Options{})
			w.check(w.get(r).State.Stage == ack.Queued, "the command is %s", w.get(r).State.Stage)
			w.agent("vm", agentOptions{})
			w.settled(r, ack.Succeeded)
		},
	},
	{
		Number: 3, Name: "expiry-offline",
		Given: "a VM that is offline", When: "a command's time passes before the VM connects", Then: "it never runs, and its status is expired",
		Run: func(w *World) {
			w.start(controller.Options{})
			late := w.send("vm", command.Options{TTL: short})
			w.settled(late, ack.Expired)
			w.agent("vm", agentOptions{})
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
			w.check(w.runs(late.ID()) == 0, "an expired command ran")
		},
	},
	{
		Number: 4, Name: "expiry-in-flight",
		Given: "an agent that is busy, and a command that waits behind", When: "its time passes", Then: "it does not run and is expired",
		Run: func(w *World) {
			w.start(controller.Options{})
			g := newGate()
			w.agent("vm", agentOptions{do: g.first})
			busy := w.send("vm", command.Options{})
			g.wait(w)
			late := w.send("vm", command.Options{TTL: short})
			w.settled(late, ack.Expired)
			g.open()
			w.settled(busy, ack.Succeeded)
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
			w.check(w.runs(late.ID()) == 0, "an expired command ran")
		},
	},
	{
		Number: 109, Name: "expires-in",
		Given: "commands with a TTL and without", When: "they are delivered, and delivered again", Then: "the agent is told how long each may still wait",
		Run: func(w *World) {
			w.start(controller.Options{AckDeadline: short})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			w.send("vm", command.Options{TTL: time.Hour})
			first := l.receive(1)[0]
			left, limited := first.TimeLeft()
			w.check(limited && left > 0 && left <= time.Hour, "of an hour %s are left", left)
			again := l.receive(1)[0]
			now, limited := again.TimeLeft()
			w.check(again.ID == first.ID && limited && now > 0 && now < left, "of %s are left %s when it comes again, of %s", left, now, again.ID)
			w.send("other", command.Options{})
			d := w.dial(transport.Hello{VM: "other", Instance: "a"}).receive(1)[0]
			left, limited = d.TimeLeft()
			w.check(!limited && d.ExpiresAt.IsZero(), "a command that does not expire may wait %s", left)
		},
	},
	{
		Number: 5, Name: "send-dup-key",
		Given: "an idempotency key", When: "two commands are sent with it", Then: "they are one command",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.agent("vm", agentOptions{})
			a := w.send("vm", command.Options{IdempotencyKey: "job"})
			b := w.send("vm", command.Options{IdempotencyKey: "job"})
			w.check(a.ID() == b.ID() && a.Created() && !b.Created(), "the second command is another one")
			w.settled(a, ack.Succeeded)
			w.check(!w.send("vm", command.Options{IdempotencyKey: "job"}).Created(), "a third is sent again after the end")
			w.check(w.runs(a.ID()) == 1, "the handler ran %d times", w.runs(a.ID()))
		},
	},
	{
		Number: 6, Name: "redeliver-no-ack",
		Given: "a link that takes a command and says nothing", When: "the ack deadline passes", Then: "the same command comes again, as attempt 2",
		Run: func(w *World) {
			w.start(controller.Options{AckDeadline: short})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			r := w.send("vm", command.Options{})
			first := l.receive(1)[0]
			again := l.receive(1)[0]
			w.check(first.ID == r.ID() && again.ID == r.ID(), "another command came")
			w.check(first.Attempt == 1 && again.Attempt == 2, "attempts %d and %d", first.Attempt, again.Attempt)
			l.mustSay(r.ID(), ack.Succeeded)
			l.nothing()
		},
	},
	{
		Number: 7, Name: "attempt-cap",
		Given: "a command that nobody answers", When: "it was delivered as often as allowed", Then: "it is dead, and says why",
		Run: func(w *World) {
			w.start(controller.Options{AckDeadline: short / 3, MaxAttempts: 3})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			r := w.send("vm", command.Options{})
			l.receive(3)
			l.nothing()
			e := w.settled(r, ack.Dead)
			w.check(strings.Contains(e.Reason, "3 times"), "the reason is %q", e.Reason)
		},
	},
	{
		Number: 8, Name: "no-cross-talk",
		Given: "two VMs", When: "each gets commands", Then: "neither sees the other's",
		Run: func(w *World) {
			w.start(controller.Options{})
			var rs []*controller.Receipt
			for i := range 20 {
				rs = append(rs, w.send(vmName(i%2), command.Options{}))
			}
			w.agent(vmName(0), agentOptions{})
			w.agent(vmName(1), agentOptions{})
			for _, r := range rs {
				w.settled(r, ack.Succeeded)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, e := range w.effects {
				for _, r := range rs {
					w.check(r.ID() != e.id || r.VM() == e.vm, "%s ran a command of %s", e.vm, r.VM())
				}
			}
		},
	},
	{
		Number: 9, Name: "broadcast-partial",
		Given: "four VMs of which two are offline", When: "a command is broadcast", Then: "each gets one, now or later, with one final status",
		Run: func(w *World) {
			w.start(controller.Options{})
			vms := []string{vmName(0), vmName(1), vmName(2), vmName(3)}
			w.agent(vms[0], agentOptions{})
			w.agent(vms[1], agentOptions{})
			rs, err := w.controller.Broadcast(w.ctx, vms, w.config(command.Options{}))
			w.ok(err, "broadcast")
			w.settled(rs[0], ack.Succeeded)
			w.settled(rs[1], ack.Succeeded)
			w.check(!w.get(rs[2]).State.Settled(), "an offline VM's command is %s", w.get(rs[2]).State.Stage)
			w.agent(vms[2], agentOptions{})
			w.agent(vms[3], agentOptions{})
			w.settled(rs[2], ack.Succeeded)
			w.settled(rs[3], ack.Succeeded)
		},
	},
	{
		Number: 10, Name: "payload-bytes",
		Given: "parameters of difficult characters and numbers", When: "they are sent", Then: "the handler gets them as they were",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.agent("vm", agentOptions{do: func(_ context.Context, job *agent.Job) (any, error) {
				return json.RawMessage(job.Command().Parameters), nil
			}})
			w.agent("numbers", agentOptions{do: func(_ context.Context, job *agent.Job) (any, error) {
				p, err := command.Decode[command.UpdateConfig](job.Command())
				return p.ConfigValue, err
			}})
			const numbers = `[9007199254740993,{"a":[-9223372036854775808,18446744073709551615]},12345678901234567890123,1.50,1E5,1e-400,7]`
			exact, err := command.NewRaw(command.TypeUpdateConfig, command.Parameters(`{"config_key":"k","config_value":`+numbers+`}`), command.Options{})
			w.ok(err, "make a command with numbers")
			e := w.settled(w.sendCommand("numbers", exact), ack.Succeeded)
			w.check(string(e.Result) == numbers, "the handler got other numbers, and returned %s", e.Result)
			for _, value := range []string{
				`quote " backslash \ slash /`, "control \x01 \x1f escape \x1b", "cr \r lf \n crlf \r\n", "u2028 \u2028 u2029 \u2029",
				"4-byte rune \U0001f600", "<script>&amp;</script>", "\ufeffbom", "data: x\n\nevent: close\ndata: {}", strings.Repeat("ü", 1000),
			} {
				cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: value}, command.Options{})
				w.ok(err, "make a command")
				e := w.settled(w.sendCommand("vm", cmd), ack.Succeeded)
				var got command.UpdateConfig
				w.ok(json.Unmarshal(e.Result, &got), "decode the result")
				w.check(got.ConfigValue == value, "sent %q, the handler got %q", value, got.ConfigValue)
			}
			raw := command.Parameters(`{"big":12345678901234567890123,"float":1.50,"esc":"\u0041\/","nested":{"a":[1,2,{"b":null}]}}`)
			_, err = command.NewRaw(command.TypeUpdateConfig, raw, command.Options{})
			w.check(err != nil, "update_config without a key was accepted")
			cmd, err := command.NewRaw("raw_bytes", raw, command.Options{})
			w.ok(err, "make a raw command")
			w.check(string(cmd.Parameters) == string(raw), "the parameters were changed")
		},
	},
	{
		Number: 11, Name: "size-boundary",
		Given: "the largest parameters that are allowed", When: "they are sent, and one byte more", Then: "the first arrive, the second are a typed error, and the link lives",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.agent("vm", agentOptions{})
			const frame = `{"config_key":"k","config_value":""}`
			sized := func(n int) command.Command {
				value := strings.Repeat("x", n-len(frame))
				return command.Command{
					ID: "size", Type: command.TypeUpdateConfig, CreatedAt: time.Now(),
					Parameters: command.Parameters(frame[:len(frame)-2] + value + `"}`),
				}
			}
			over := sized(command.MaxParameters + 1)
			_, err := w.controller.Send(w.ctx, "vm", over)
			w.is(err, transport.ErrTooLarge, "send a byte too much")
			w.settled(w.sendCommand("vm", sized(command.MaxParameters)), ack.Succeeded)
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
		},
	},
}

// gate holds the first handler that comes until it is opened.
type gate struct {
	arrived, opened chan struct{}
	came            bool
}

func newGate() *gate {
	return &gate{arrived: make(chan struct{}), opened: make(chan struct{})}
}

// first is a handler that waits the first time. It is called by one goroutine at a time.
func (g *gate) first(ctx context.Context, _ *agent.Job) (any, error) {
	if g.came {
		return nil, nil
	}
	g.came = true
	return g.hold(ctx)
}

func (g *gate) hold(ctx context.Context) (any, error) {
	close(g.arrived)
	select {
	case <-g.opened:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g *gate) wait(w *World) {
	select {
	case <-g.arrived:
	case <-time.After(patience):
		w.fail("the handler does not start")
	}
}

func (g *gate) open() { close(g.opened) }
