package conformance

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
)

// httpScenarios speak HTTP to the server half by themselves, as curl would.
var httpScenarios = []Scenario{
	{
		Number: 72, Name: "poll-between", NeedsHTTP: true,
		Given: "a poller without wait, as deployed today", When: "a command is sent between two polls", Then: "the second brings it, once",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.check(len(w.poll(w.ctx, "vm", nil).Commands) == 0, "there is a command already")
			r := w.send("vm", command.Options{})
			p := w.poll(w.ctx, "vm", nil)
			w.check(p.VM == "vm" && len(p.Commands) == 1 && p.Commands[0].ID == r.ID(), "the poll brought %+v", p)
			w.check(len(w.poll(w.ctx, "vm", nil).Commands) == 0, "it came again before the ack deadline")
			status, answer := w.post("vm", "commands/ack", `{"command_id":"`+r.ID()+`","status":"processed"}`, nil)
			w.check(status == http.StatusOK, "the ack is answered with %d: %s", status, answer)
			w.settled(r, ack.Succeeded)
		},
	},
	{
		Number: 73, Name: "poll-abort-race", NeedsHTTP: true,
		Given: "a poller with a cursor", When: "its poll is aborted as the answer is written", Then: "the next poll at the same cursor brings the command at once",
		Run: func(w *World) {
			w.start(controller.Options{})
			q := url.Values{"instance": {"a"}, "wait": {"10s"}}
			first := w.send("vm", command.Options{})
			p := w.poll(w.ctx, "vm", q)
			q.Set("after", p.Cursor)
			for range 20 {
				ctx, cancel := context.WithCancel(w.ctx)
				done := make(chan struct{})
				go func() {
					defer close(done)
					defer func() { _ = recover() }() // aborted
					w.poll(ctx, "vm", q)
				}()
				r := w.send("vm", command.Options{})
				cancel()
				<-done
				got := w.poll(w.ctx, "vm", q)
				w.check(len(got.Commands) == 1 && got.Commands[0].ID == r.ID(), "the next poll brought %d commands", len(got.Commands))
				q.Set("after", got.Cursor)
				status, answer := w.post("vm", "commands/ack", `{"command_id":"`+r.ID()+`","status":"processed"}`, nil)
				w.check(status == http.StatusOK, "the ack is answered with %d: %s", status, answer)
			}
			w.check(w.get(first).State.Stage == ack.Delivered, "the first is %s", w.get(first).State.Stage)
		},
	},
	{
		Number: 74, Name: "poll-duplicate", NeedsHTTP: true,
		Given: "a poll that is held", When: "a second one of the same VM comes", Then: "the first ends and consumes nothing; the second brings the command",
		Run: func(w *World) {
			w.start(controller.Options{})
			q := url.Values{"instance": {"a"}, "wait": {"10s"}}
			w.poll(w.ctx, "vm", url.Values{"instance": {"a"}})
			type answer struct {
				status int
				body   string
			}
			first := make(chan answer, 1)
			go func() {
				status, body := w.request(w.ctx, http.MethodGet, "/vms/vm/commands?"+q.Encode(), "", nil)
				first <- answer{status, body}
			}()
			w.until("vm", "polling", func(p controller.Presence) bool { return p.Attached })
			second := make(chan page, 1)
			go func() { second <- w.poll(w.ctx, "vm", q) }()
			select {
			case a := <-first:
				w.check(a.status == http.StatusConflict && strings.Contains(a.body, `"code":"replaced"`), "the first is answered with %d: %s", a.status, a.body)
			case <-time.After(patience):
				w.fail("the first poll goes on")
			}
			r := w.send("vm", command.Options{})
			p := <-second
			w.check(len(p.Commands) == 1 && p.Commands[0].ID == r.ID(), "the second poll brought %+v", p)
		},
	},
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// page is the answer to a poll, as a client in another language would read it.
type page struct {
	VM       string `json:"vm_id"`
	Commands []struct {
		ID string `json:"id"`
	} `json:"commands"`
	Cursor string `json:"cursor"`
}

func (w *World) poll(ctx context.Context, vm string, q url.Values) page {
	status, body := w.request(ctx, http.MethodGet, "/vms/"+vm+"/commands?"+q.Encode(), "", nil)
	w.check(status == http.StatusOK, "a poll is answered with %d: %s", status, body)
	var p page
	w.ok(json.Unmarshal([]byte(body), &p), "read a poll's answer")
	return p
}

func (w *World) post(vm, path, body string, h http.Header) (int, string) {
	return w.request(w.ctx, http.MethodPost, "/vms/"+vm+"/"+path, body, h)
}

// request goes to the server half that is nearest the controller, past the proxy.
func (w *World) request(ctx context.Context, method, path, body string, h http.Header) (int, string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.env.urls[0]+path, strings.NewReader(body))
	w.ok(err, "make a request")
	req.Header.Set("Authorization", "Bearer "+w.env.credentials.shown())
	for k, v := range h {
		req.Header[k] = v
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	w.ok(err, method+" "+path)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	w.ok(err, "read the answer")
	return resp.StatusCode, string(b)
}
