package conformance

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport"
)

// between are scenarios of what answers requests in the controller's place: a proxy, a portal, another server.
var between = []Scenario{
	{
		Number: 116, Name: "stranger-answers", NeedsHTTP: true,
		Given: "an agent behind something that answers requests in the controller's place, each in another way", When: "commands are sent",
		Then: "each runs once, its outcome is recorded, and the agent goes on",
		Run: func(w *World) {
			w.start(controller.Options{Access: unbounded})
			var n atomic.Int64
			w.between(func(rw http.ResponseWriter, _ *http.Request) bool {
				i := n.Add(1)
				if i%2 == 0 || int(i/2) >= len(strangers) {
					return false
				}
				strangers[i/2].answer(rw)
				return true
			})
			w.agent("vm", agentOptions{})
			for range 3 {
				receipts := []*controller.Receipt{w.send("vm", command.Options{}), w.send("vm", command.Options{})}
				for _, r := range receipts {
					w.settled(r, ack.Succeeded)
					w.check(w.runs(r.ID()) == 1, "%s ran %d times", r.ID(), w.runs(r.ID()))
				}
			}
		},
	},
	{
		Number: 117, Name: "stranger-permission", NeedsHTTP: true,
		Given: "a command that was delivered and is cancelled", When: "something in between answers the agent that asks whether it may start",
		Then: "that is no permission: the controller is asked again, and refuses",
		Run: func(w *World) {
			w.start(controller.Options{Access: unbounded})
			for _, s := range strangers[:5] { // what looks like a success
				vm := "vm " + s.name
				l := w.dial(transport.Hello{VM: vm, Instance: "a"})
				r := w.send(vm, command.Options{})
				l.receive(1)
				_, err := w.controller.Cancel(w.ctx, r.ID(), "changed my mind")
				w.ok(err, "cancel")
				var asked atomic.Bool
				w.between(func(rw http.ResponseWriter, r *http.Request) bool {
					if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/ack") || asked.Swap(true) {
						return false
					}
					s.answer(rw)
					return true
				})
				err = l.say(r.ID(), ack.Started)
				w.check(err != nil, "%s is a permission to start", s.name)
				w.is(err, transport.ErrCommandCanceled, "start after "+s.name)
				w.between(nil)
				l.Close()
			}
		},
	},
	{
		Number: 118, Name: "stranger-size", NeedsHTTP: true,
		Given: "an agent behind something that lets no large body pass (413)", When: "many commands end, one with a large result",
		Then: "all are succeeded with their results, but that one may say that its result was left out on the way",
		Run: func(w *World) {
			w.start(controller.Options{})
			const most = 2000
			w.between(func(rw http.ResponseWriter, r *http.Request) bool {
				if r.ContentLength <= most {
					return false
				}
				rw.WriteHeader(http.StatusRequestEntityTooLarge)
				return true
			})
			g := newGate()
			w.agent("vm", agentOptions{policy: agent.Policy{Concurrent: true}, do: func(ctx context.Context, job *agent.Job) (any, error) {
				if _, err := g.first(ctx, job); err != nil {
					return nil, err
				}
				if job.Command().IdempotencyKey == "large" {
					return strings.Repeat("x", 2*most), nil
				}
				return strings.Repeat("x", most/10), nil
			}})
			receipts := []*controller.Receipt{w.send("vm", command.Options{IdempotencyKey: "large"})}
			g.wait(w)
			for range 40 {
				receipts = append(receipts, w.send("vm", command.Options{}))
			}
			g.open()
			for i, r := range receipts {
				e := w.settled(r, ack.Succeeded)
				whole := len(e.Result) > most/10
				w.check(whole || i == 0 && strings.Contains(e.Reason, "left out on the way"), "result %s, reason %s", e.Result, e.Reason)
			}
		},
	},
	{
		Number: 119, Name: "rewritten-path", NeedsHTTP: true,
		Given: "something in between that decodes paths and merges slashes", When: "VMs have names with slashes and escapes",
		Then: "each gets its own commands",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.between(func(_ http.ResponseWriter, r *http.Request) bool {
				p := r.URL.Path
				for strings.Contains(p, "//") {
					p = strings.ReplaceAll(p, "//", "/")
				}
				p, _, _ = strings.Cut(p, ";")
				r.URL.Path, r.URL.RawPath = p, ""
				return false
			})
			for _, vm := range []string{"pool/vm", "pool//vm", "pool%2Fvm", "=pool=2Fvm", "pool;vm", "pool vm?#", "pööl"} {
				a := w.agent(vm, agentOptions{})
				r := w.send(vm, command.Options{})
				w.settled(r, ack.Succeeded)
				w.check(w.runs(r.ID()) == 1, "the command of %q ran %d times", vm, w.runs(r.ID()))
				w.ok(a.halt(), "stop")
			}
		},
	},
}

// between has f answer requests in place of the server half, where it returns true.
func (w *World) between(f func(http.ResponseWriter, *http.Request) bool) {
	if f == nil {
		w.env.between.Store(nil)
		return
	}
	w.env.between.Store(&f)
}

// stranger answers as something does that knows nothing of us.
type stranger struct {
	name       string
	status     int
	kind, body string
}

func (s stranger) answer(w http.ResponseWriter) {
	if s.kind != "" {
		w.Header().Set("Content-Type", s.kind)
	}
	if s.status == http.StatusFound {
		w.Header().Set("Location", "http://127.0.0.1:1/login")
	}
	w.WriteHeader(s.status)
	_, _ = io.WriteString(w, s.body)
}

var strangers = []stranger{
	{"a page", http.StatusOK, "text/html", "<html>log in</html>"},
	{"a portal's JSON", http.StatusOK, "application/json", `{"status":"ok"}`},
	{"an empty answer", http.StatusOK, "", ""},
	{"no content", http.StatusNoContent, "", ""},
	{"a redirect", http.StatusFound, "", ""},
	{"a page that forbids", http.StatusForbidden, "text/html", "<html>blocked</html>"},
	{"a problem document of another", http.StatusForbidden, "application/problem+json", `{"type":"about:blank","code":"revoked","status":403}`},
	{"a page of a gateway", http.StatusBadGateway, "text/html", "<html>nginx</html>"},
	{"an overload", http.StatusServiceUnavailable, "", ""},
}
