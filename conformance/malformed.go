package conformance

import (
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
)

// malformed say what no client of ours would, to the server half: in HTTP requests where it has them, and in
// frames where it takes those.
var malformed = []Scenario{
	{
		Number: 64, Name: "bad-json", NeedsBytes: true,
		Given: "a client that sends what is no JSON, or of another form", When: "it says that first, or later", Then: "it is told so, and others are served",
		Run: func(w *World) { w.besideOthers(postBadJSON, sayBadJSON) },
	},
	{
		Number: 66, Name: "unknown-field", NeedsBytes: true,
		Given: "fields, and frames, of a later version", When: "they are sent", Then: "what is known of them counts",
		Run: func(w *World) { w.besideOthers(postUnknownField, sayUnknownField) },
	},
	{
		Number: 67, Name: "future-version", NeedsBytes: true,
		Given: "a client of a later version, or of none", When: "it says what this version does not know", Then: "it is served as this version serves, or refused",
		Run: func(w *World) { w.besideOthers(pollLaterVersion, sayVersions) },
	},
	{
		Number: 68, Name: "decompression-bomb", NeedsBytes: true,
		Given: "a small message that would unpack to gigabytes", When: "it is sent", Then: "it is refused, unopened",
		Run: func(w *World) { w.besideOthers(postBomb, sayBomb) },
	},
	{
		Number: 69, Name: "slow-loris", NeedsBytes: true,
		Given: "fifty connections that never finish a request, or their hello", When: "commands are sent to others", Then: "they are served",
		Run: func(w *World) { w.besideOthers(beginRequests, beginConversations) },
	},
	{
		Number: 71, Name: "oversized", NeedsBytes: true,
		Given: "headers, paths, cursors, hellos and frames beyond all bounds", When: "they are sent", Then: "each is refused with a code, and others are served",
		Run: func(w *World) { w.besideOthers(requestOversized, sayOversized) },
	},
	{
		Number: 89, Name: "wrong-numbers", NeedsFrames: true,
		Given: "a link", When: "a frame has a number that was left out, said before, or is none", Then: "the link ends, and nothing of the frame counts",
		Run: func(w *World) {
			w.besideOthers(nil, func(w *World) {
				r := w.send("vm", command.Options{})
				done := `"acks":[{"command_id":"` + r.ID() + `","status":"succeeded"}]`
				for _, further := range []int{-1, 0, 2, 1 << 40} {
					t := w.talk("vm").greet()
					t.sayAs(further, done)
					t.over("a wrong number")
				}
				for _, n := range []string{"0", "18446744073709551615"} {
					t := w.talk("vm").greet()
					t.raw(`{"n":` + n + `,` + done + `}`)
					t.over("the number " + n)
				}
				for _, n := range []string{"2", "0"} {
					t := w.talk("vm")
					t.raw(`{"n":` + n + `,` + t.hello() + `}`)
					t.over("a hello with the number " + n)
				}
				w.check(w.get(r).State.Stage != ack.Succeeded, "an ack with a wrong number was recorded")
			})
		},
	},
	{
		Number: 90, Name: "no-hello", NeedsFrames: true,
		Given: "a client that says no hello first, or a second one later", When: "it speaks", Then: "the link ends as a breach of the protocol, and what it said does not count",
		Run: func(w *World) {
			w.besideOthers(nil, func(w *World) {
				r := w.send("vm", command.Options{})
				done := `"acks":[{"command_id":"` + r.ID() + `","status":"succeeded"}]`
				for _, first := range []string{done, `"events":[{"type":"x"}]`, `"ping":true`, `"pong":true`, `"of_a_later_version":{}`} {
					t := w.talk("vm")
					t.say(first)
					t.say(t.hello())
					t.refused(first, "protocol")
				}
				t := w.talk("vm").greet()
				t.say(t.hello())
				t.refused("a second hello", "protocol")
				w.check(!w.get(r).State.Settled(), "an ack without a hello was recorded")
			})
		},
	},
	{
		Number: 91, Name: "hello-of-another", NeedsFrames: true, NeedsAuth: true,
		Given: "a client with credentials for one VM", When: "its hello names another", Then: "it is forbidden, and gets nothing of the other's",
		Run: func(w *World) {
			w.besideOthers(nil, func(w *World) {
				r := w.send("victim", command.Options{})
				good := w.env.credentials.shown()
				w.env.credentials.show(w.env.credentials.issue(pass{vm: "vm"}))
				t := w.talk("vm")
				t.say(t.helloOf("victim", "1", ""))
				t.refused("a hello of another VM", "forbidden")
				w.env.credentials.show(good)
				w.check(w.get(r).State.Stage == ack.Queued, "the other's command is %s", w.get(r).State.Stage)
				_, known := w.controller.Presence("victim")
				w.check(!known, "the other is taken for online")
			})
		},
	},
	{
		Number: 92, Name: "flooded-frame", NeedsFrames: true,
		Given: "a frame of 10,000 acks, or as many events", When: "it comes", Then: "it is too large, and ends the link",
		Run: func(w *World) {
			w.besideOthers(nil, func(w *World) {
				for _, frame := range []string{
					`"acks":[` + list(`{"command_id":"x","status":"received"}`, 10_000) + `]`,
					`"acks":[` + list(`{}`, 10_000) + `]`,
					`"events":[` + list(`{"type":"x"}`, 10_000) + `]`,
				} {
					w.tooLarge(frame)
				}
			})
		},
	},
}

// besideOthers has another VM served after each of the two, which speak HTTP and in frames; either may be nil.
func (w *World) besideOthers(http, frames func(*World)) {
	w.start(controller.Options{})
	w.agent("other", agentOptions{})
	w.settled(w.send("other", command.Options{}), ack.Succeeded) // it is linked
	if f := w.subject.Facts; http != nil && !f.NoHTTP && !f.NoWire {
		http(w)
		w.settled(w.send("other", command.Options{}), ack.Succeeded)
	}
	if frames != nil && w.subject.Facts.Frames {
		frames(w)
		w.settled(w.send("other", command.Options{}), ack.Succeeded)
	}
}

func list(element string, n int) string {
	return strings.TrimSuffix(strings.Repeat(element+",", n), ",")
}

func postBadJSON(w *World) {
	for _, body := range []string{"", "{", "[", `"text"`, "null", `{"command_id":7}`, `{"command_id":"x","status":"nonsense"}`, "\xff\xfe", strings.Repeat("[", 100_000)} {
		status, answer := w.post("vm", "commands/ack", body, nil)
		w.check(status == http.StatusBadRequest, "%.20q is answered with %d: %s", body, status, answer)
		w.check(strings.Contains(answer, `"code":"invalid"`), "%.20q is answered with %s", body, answer)
	}
}

func sayBadJSON(w *World) {
	for _, bad := range []string{
		"{", "[", `"text"`, "7", "\xff\xfe", "hello", `{"n":`, `{"n":N} {"n":N}`, strings.Repeat("[", 100_000),
		`{"n":"N"}`, `{"n":1.5}`, `{"n":-1}`, `{"n":N,"ping":1}`, `{"n":N,"hello":7}`, `{"n":N,"hello":{"version":"1"}}`,
		`{"n":N,"acks":{}}`, `{"n":N,"acks":[7]}`, `{"n":N,"events":[[]]}`, `{"n":N,"x":` + strings.Repeat(`{"x":[`, 50_000),
	} {
		t := w.talk("vm")
		t.raw(strings.ReplaceAll(bad, "N", "1"))
		t.refused("first "+bad, "protocol", "too_large")
		t = w.talk("vm").greet()
		t.raw(strings.ReplaceAll(bad, "N", "2"))
		t.refused("later "+bad, "protocol")
	}
}

func postUnknownField(w *World) {
	r := w.send("vm", command.Options{})
	w.poll(w.ctx, "vm", nil)
	status, answer := w.post("vm", "commands/ack", `{"command_id":"`+r.ID()+`","status":"processed","of_a_later_version":{"x":[1]}}`, nil)
	w.check(status == http.StatusOK, "answered with %d: %s", status, answer)
	w.settled(r, ack.Succeeded)
}

func sayUnknownField(w *World) {
	r := w.send("vm", command.Options{})
	t := w.talk("vm")
	t.say(t.helloOf("vm", "1", `,"of_a_later_version":{"x":[1]}`) + `,"beside":[]`)
	t.welcomed()
	h := t.hear()
	w.check(len(h.Commands) == 1 && h.Commands[0].ID == r.ID(), "heard %+v", h)
	t.say(`"of_a_later_version":{"x":[1]}`)
	t.say(`"of_a_later_version":null`)
	n := t.say(`"acks":[{"command_id":"` + r.ID() + `","status":"processed","of_a_later_version":{"x":[1]}}]`)
	h = t.hear()
	w.check(h.Recorded != nil && h.Recorded.Upto == n && len(h.Recorded.Refused) == 0, "the ack is answered with %+v", h)
	w.settled(r, ack.Succeeded)
}

func pollLaterVersion(w *World) {
	r := w.send("vm", command.Options{})
	p := w.poll(w.ctx, "vm", url.Values{"version": {"7"}, "instance": {"a"}, "of_a_later_version": {"x"}})
	w.check(len(p.Commands) == 1 && p.Commands[0].ID == r.ID(), "the poll brought %+v", p)
	status, answer := w.post("vm", "commands/ack?version=7&instance=a", `{"command_id":"`+r.ID()+`","status":"processed"}`, http.Header{"Miglink-Of-A-Later-Version": {"x"}})
	w.check(status == http.StatusOK, "the ack is answered with %d: %s", status, answer)
	w.settled(r, ack.Succeeded)
}

func sayVersions(w *World) {
	for _, version := range []string{"0", "-1", "-9007199254740993", `null`} {
		t := w.talk("vm")
		t.say(t.helloOf("vm", version, ""))
		t.refused("a hello of version "+version, "protocol")
	}
	t := w.talk("vm")
	t.say(t.helloOf("vm", "7", ""))
	t.welcomed()
}

// bomb is 50 MiB of zeros, in 50 KiB.
func (w *World) bomb() string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := io.CopyN(z, zeros{}, 50<<20)
	w.ok(err, "make a bomb")
	w.ok(z.Close(), "make a bomb")
	return b.String()
}

func postBomb(w *World) {
	status, answer := w.post("vm", "commands/ack", w.bomb(), http.Header{"Content-Encoding": {"gzip"}})
	w.check(status == http.StatusBadRequest, "answered with %d: %s", status, answer)
}

func sayBomb(w *World) {
	bomb := w.bomb()
	t := w.talk("vm")
	t.raw(bomb)
	t.refused("a bomb", "protocol")
	t = w.talk("vm").greet()
	t.raw(bomb)
	t.refused("a bomb", "protocol")
}

const slow = 50 // connections

func beginRequests(w *World) {
	u, err := url.Parse(w.env.urls[len(w.env.urls)-1])
	w.ok(err, "parse the URL")
	for range slow {
		c, err := (&net.Dialer{Timeout: patience}).DialContext(w.ctx, "tcp", u.Host)
		w.ok(err, "connect")
		w.env.Cleanup(func() { c.Close() })
		_, err = io.WriteString(c, "GET /api/v1/vms/vm/commands HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		w.ok(err, "begin a request")
	}
}

func beginConversations(w *World) {
	for i := range slow {
		w.talk(vmName(i))
	}
}

func requestOversized(w *World) {
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		path   string
		header http.Header
	}{
		{"/vms/" + long + "/commands", nil},
		{"/vms/vm/commands?after=" + long, nil},
		{"/vms/vm/commands", http.Header{"X-Long": {long}}},
		{"/vms/" + long[:200] + "/commands", nil},
		{"/vms/vm/commands?after=" + long[:200], nil},
		{"/vms/vm/commands?instance=" + long[:200], nil},
	} {
		status, _ := w.request(w.ctx, http.MethodGet, c.path, "", c.header)
		w.check(status >= 400 && status < 500, "%.40s is answered with %d", c.path, status)
	}
}

// Bounds of PROTOCOL.md, in bytes.
const (
	mostHello = 64 << 10
	mostFrame = 2 << 20
)

func sayOversized(w *World) {
	long := strings.Repeat("x", 200)
	for _, more := range []string{`,"after":"` + long + `"`, `,"instance":"` + long + `"`, `,"via":"` + long + `"`, `,"window":-1`} {
		t := w.talk("vm")
		t.say(t.helloOf("vm", "1", more))
		t.refused("a hello with "+more, "invalid", "protocol")
	}
	for _, size := range []int{mostHello + 1, 2 * mostHello, mostFrame / 4} {
		t := w.talk("vm")
		t.say(t.helloOf("vm", "1", `,"via":"`+strings.Repeat("x", size)+`"`))
		t.refused("a hello of "+strconv.Itoa(size)+" bytes", "too_large")
	}
	w.tooLarge(`"events":[{"type":"` + strings.Repeat("x", mostFrame) + `"}]`)
}

// tooLarge says a frame that is. On a slow machine it may take longer than a controller waits for a word: a link
// that ended without any is tried again.
func (w *World) tooLarge(frame string) {
	code := ""
	for range 5 {
		t := w.talk("vm").greet()
		t.say(frame)
		if code = t.over(frame); code != "" {
			break
		}
	}
	w.check(code == "too_large", "after %.60s the link ends with the code %q, want too_large", frame, code)
}
