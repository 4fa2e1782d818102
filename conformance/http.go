package conformance

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net"
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
		Number: 64, Name: "bad-json", NeedsHTTP: true,
		Given: "a client that sends what is no JSON, or of another form", When: "it posts that", Then: "it is told so, and others are served",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.agent("vm", agentOptions{})
			for _, body := range []string{"", "{", "[", `"text"`, "null", `{"command_id":7}`, `{"command_id":"x","status":"nonsense"}`, "\xff\xfe", strings.Repeat("[", 100_000)} {
				status, answer := w.post("vm", "commands/ack", body, nil)
				w.check(status == http.StatusBadRequest, "%.20q is answered with %d: %s", body, status, answer)
				w.check(strings.Contains(answer, `"code":"invalid"`), "%.20q is answered with %s", body, answer)
			}
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
		},
	},
	{
		Number: 66, Name: "unknown-field", NeedsHTTP: true,
		Given: "an ack with a field of a later version", When: "it is posted", Then: "it is recorded",
		Run: func(w *World) {
			w.start(controller.Options{})
			r := w.send("vm", command.Options{})
			w.poll(w.ctx, "vm", nil)
			status, answer := w.post("vm", "commands/ack", `{"command_id":"`+r.ID()+`","status":"processed","of_a_later_version":{"x":[1]}}`, nil)
			w.check(status == http.StatusOK, "answered with %d: %s", status, answer)
			w.settled(r, ack.Succeeded)
		},
	},
	{
		Number: 67, Name: "future-version", NeedsHTTP: true,
		Given: "a client of a later version", When: "it says what this version does not know", Then: "it is served as this version serves",
		Run: func(w *World) {
			w.start(controller.Options{})
			r := w.send("vm", command.Options{})
			p := w.poll(w.ctx, "vm", url.Values{"version": {"7"}, "instance": {"a"}, "of_a_later_version": {"x"}})
			w.check(len(p.Commands) == 1 && p.Commands[0].ID == r.ID(), "the poll brought %+v", p)
			status, answer := w.post("vm", "commands/ack?version=7&instance=a", `{"command_id":"`+r.ID()+`","status":"processed"}`, http.Header{"Miglink-Of-A-Later-Version": {"x"}})
			w.check(status == http.StatusOK, "the ack is answered with %d: %s", status, answer)
			w.settled(r, ack.Succeeded)
		},
	},
	{
		Number: 68, Name: "decompression-bomb", NeedsHTTP: true,
		Given: "a small body that would unpack to gigabytes", When: "it is posted", Then: "it is refused, unopened",
		Run: func(w *World) {
			w.start(controller.Options{})
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, err := io.CopyN(z, zeros{}, 50<<20)
			w.ok(err, "make a bomb")
			w.ok(z.Close(), "make a bomb")
			status, answer := w.post("vm", "commands/ack", b.String(), http.Header{"Content-Encoding": {"gzip"}})
			w.check(status == http.StatusBadRequest, "answered with %d: %s", status, answer)
		},
	},
	{
		Number: 69, Name: "slow-loris", NeedsHTTP: true,
		Given: "fifty connections that never finish a request", When: "commands are sent to others", Then: "they are served",
		Run: func(w *World) {
			w.start(controller.Options{})
			u, err := url.Parse(w.env.urls[len(w.env.urls)-1])
			w.ok(err, "parse the URL")
			for range 50 {
				c, err := net.Dial("tcp", u.Host)
				w.ok(err, "connect")
				w.env.Cleanup(func() { c.Close() })
				_, err = io.WriteString(c, "GET /api/v1/vms/vm/commands HTTP/1.1\r\nHost: x\r\nX-Slow: ")
				w.ok(err, "begin a request")
			}
			w.agent("vm", agentOptions{})
			for range 5 {
				w.settled(w.send("vm", command.Options{}), ack.Succeeded)
			}
		},
	},
	{
		Number: 71, Name: "oversized", NeedsHTTP: true,
		Given: "headers, paths and cursors beyond all bounds", When: "they are sent", Then: "each is refused, and others are served",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.agent("vm", agentOptions{})
			long := strings.Repeat("x", 100_000)
			for _, c := range []struct {
				path   string
				header http.Header
			}{
				{"/vms/" + long + "/commands", nil},
				{"/vms/vm/commands?after=" + long, nil},
				{"/vms/other/commands", http.Header{"X-Long": {long}}},
				{"/vms/" + long[:200] + "/commands", nil},
				{"/vms/other/commands?after=" + long[:200], nil},
				{"/vms/other/commands?instance=" + long[:200], nil},
			} {
				status, _ := w.request(w.ctx, http.MethodGet, c.path, "", c.header)
				w.check(status >= 400 && status < 500, "%.40s is answered with %d", c.path, status)
			}
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
		},
	},
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
