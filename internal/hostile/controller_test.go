package hostile

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// times is how often an agent meets the controller that means harm before it is replaced by one that means well.
const times = 3

// survives has an agent dial a controller that means harm, a few times, and then one that means well, over HTTP.
func survives(t *testing.T, open func(url string) (transport.Transport, error), path string, harm http.Handler, mebibytes int) {
	t.Helper()
	check := prepare(t)
	c := controller.New(memory.New(), controller.Options{})
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
	mux.Handle(grpc.Handler(c, grpc.HandlerOptions{}))
	var met atomic.Int32
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, path) && met.Add(1) <= times {
			harm.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { c.Close() })
	tr, err := open("http://" + addr)
	require.NoError(t, err)
	check(c, tr, mebibytes)
	require.GreaterOrEqual(t, met.Load(), int32(times), "the agent did not meet the harm")
}

// prepare is to be called before anything is set up. What it returns runs an agent until it has met the controller
// that means harm and has run, once, what the one that means well sends; it then holds less than so many MiB more than
// at first. Memory is looked at while the agent runs.
func prepare(t *testing.T) func(c *controller.Controller, tr transport.Transport, mebibytes int) {
	t.Helper()
	existing := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, existing) })
	before := held()
	return func(c *controller.Controller, tr transport.Transport, mebibytes int) {
		t.Helper()
		runs := runAgent(t, tr, "vm")
		succeeds(t, send(t, c, "vm"))
		within(t, before, mebibytes)
		runs.mu.Lock()
		defer runs.mu.Unlock()
		for id, n := range runs.runs {
			require.Equal(t, 1, n, "the handler of %s", id)
		}
	}
}

// one is a command; all of its fields may be replaced.
func one(id, cursor string) string {
	return fmt.Sprintf(`{"cursor":%q,"attempt":1,"id":%q,"type":"set_log_level","parameters":{"level":"debug"}}`, cursor, id)
}

func list(element string, n int) string {
	return strings.TrimSuffix(strings.Repeat(element+",", n), ",")
}

const mega = 1 << 20

// said is what follows the hello; N counts.
var said = map[string][]string{
	"nothing":               {},
	"no welcome":            {`"commands":[` + one("c", "e.1.0") + `]`},
	"a bogus welcome":       {`"welcome":{"version":7}`},
	"a negative welcome":    {`"welcome":{"version":-1,"keepalive":-1}`},
	"an eternal keepalive":  {`"welcome":{"version":1,"keepalive":1e300}`},
	"a negative keepalive":  {`"welcome":{"version":1,"keepalive":-1e300}`},
	"close at once":         {`"close":{"code":"of_a_later_version","message":"` + strings.Repeat("x", mega) + `","retry_after":-1e300}`},
	"moved without end":     {`"close":{"code":"moved","retry_after":-5}`},
	"no ID":                 {welcome, `"commands":[{"cursor":"e.1.0","type":"drain"}]`},
	"a long ID":             {welcome, `"commands":[` + one(strings.Repeat("x", mega), "e.1.0") + `]`},
	"a long cursor":         {welcome, `"commands":[` + one("c", strings.Repeat("x", mega)) + `]`},
	"empty commands":        {welcome, `"commands":[` + list(`{}`, mega/2) + `]`},
	"more than the window":  {welcome, `"commands":[` + list(one("c", "e.1.0"), 2000) + `]`},
	"the same by thousands": append([]string{welcome}, repeat(`"commands":[`+list(one("c", "e.1.0"), 100)+`]`, 50)...),
	"recorded ahead":        {welcome, `"recorded":{"upto":99}`},
	"refused by thousands":  {welcome, `"recorded":{"upto":1,"refused":[` + list(`{}`, mega/2) + `]}`},
	"taken, what was not":   {welcome, `"taken":{"of":7}`},
	"pings":                 append([]string{welcome}, repeat(`"ping":true`, 5000)...),
	"hello":                 {welcome, `"hello":{"version":1,"vm_id":"vm"}`, `"acks":[{}]`, `"events":[{}]`},
	"too much":              {welcome, `"later":"` + strings.Repeat("x", 3*mega) + `"`},
	"nested":                {welcome, `"later":` + strings.Repeat("[", mega)},
}

const welcome = `"welcome":{"version":1,"keepalive":15}`

func repeat(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

func TestControllerOverWS(t *testing.T) {
	upgrader := websocket.Upgrader{Subprotocols: []string{"miglink.v1"}}
	for name, frames := range said {
		t.Run(name, func(t *testing.T) {
			survives(t, func(url string) (transport.Transport, error) { return ws.New(url, ws.Options{}) }, "/ws",
				http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					conn, err := upgrader.Upgrade(w, r, nil)
					if err != nil {
						return
					}
					defer conn.Close()
					_, _, _ = conn.ReadMessage()
					for i, f := range frames {
						if conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"n":%d,%s}`, i+1, f)) != nil {
							return
						}
					}
				}), 12)
		})
	}
}

// endless writes until the client hangs up, and fails where that takes too much.
func endless(t *testing.T, begin, more string) http.Handler {
	kind := "application/json"
	if strings.HasPrefix(begin, ":") {
		kind = "text/event-stream"
	}
	return answer(kind, func(w io.Writer) {
		_, err := io.WriteString(w, begin)
		for written := 0; err == nil; {
			var n int
			n, err = io.WriteString(w, more)
			if written += n; written > 64*mega {
				t.Errorf("the agent takes %.20q without end", more)
				return
			}
		}
	})
}

func answer(kind string, write func(io.Writer)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		write(w)
	})
}

// refusing has another handler's answer be a refusal.
func refusing(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusServiceUnavailable) // what h sets comes too late
		h.ServeHTTP(w, r)
	})
}

func text(kind, s string) http.Handler {
	return answer(kind, func(w io.Writer) { _, _ = io.WriteString(w, s) })
}

// elsewhere is where a controller that means harm has agents go, and they must not: a token would go along.
func elsewhere(t *testing.T) http.Handler {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	t.Cleanup(other.Close)
	return http.RedirectHandler(other.URL, http.StatusTemporaryRedirect)
}

func TestControllerOverSSE(t *testing.T) {
	const stream = "text/event-stream"
	event := func(data string) string { return ": miglink\n\nid: e.1.0\nevent: command\ndata: " + data + "\n\n" }
	for name, harm := range map[string]func(t *testing.T) http.Handler{
		"an endless line": func(t *testing.T) http.Handler { return endless(t, ": miglink\n\ndata: ", strings.Repeat("x", 64<<10)) },
		"endless lines": func(t *testing.T) http.Handler {
			return endless(t, ": miglink\n\nevent: command\n", "data: x\n"+strings.Repeat("data: y\n", 1000))
		},
		"endless comments": func(t *testing.T) http.Handler { return endless(t, ": miglink\n\n", strings.Repeat(": x\n", 1000)) },
		"an endless refusal": func(t *testing.T) http.Handler {
			return refusing(endless(t, `{"code":"`, strings.Repeat("x", 64<<10)))
		},
		"a redirect": elsewhere,
		"no stream":  func(*testing.T) http.Handler { return text("text/html", "<html>") },
		"no command": func(*testing.T) http.Handler { return text(stream, event("{")) },
		"no ID":      func(*testing.T) http.Handler { return text(stream, event("{}")) },
		"a long ID":  func(*testing.T) http.Handler { return text(stream, event(one(strings.Repeat("x", mega/4), ""))) },
		"a long cursor": func(*testing.T) http.Handler {
			return text(stream, strings.Replace(event(one("c", "")), "e.1.0", strings.Repeat("x", mega/4), 1))
		},
		"the same by thousand": func(*testing.T) http.Handler { return text(stream, strings.Repeat(event(one("c", "")), 5000)) },
		"an eternal retry": func(*testing.T) http.Handler {
			return text(stream, ": miglink\n\nevent: close\ndata: {\"code\":\"unavailable\",\"retry_after\":1e300}\n\n")
		},
		"an unknown code": func(*testing.T) http.Handler {
			return text(stream, ": miglink\n\nevent: close\ndata: {\"code\":\"later\",\"retry_after\":-1}\n\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			survives(t, func(url string) (transport.Transport, error) { return sse.New(url, sse.Options{}) }, "/stream", harm(t), 12)
		})
	}
}

func TestControllerOverLongPoll(t *testing.T) {
	const kind = "application/json"
	page := func(commands, cursor string) http.Handler {
		return text(kind, `{"vm_id":"vm","commands":[`+commands+`],"cursor":"`+cursor+`"}`)
	}
	for name, harm := range map[string]func(t *testing.T) http.Handler{
		"an endless body": func(t *testing.T) http.Handler { return endless(t, `{"commands":[`, strings.Repeat(" ", 64<<10)) },
		"an endless refusal": func(t *testing.T) http.Handler {
			return refusing(endless(t, `{"code":"`, strings.Repeat("x", 64<<10)))
		},
		"a redirect":           elsewhere,
		"no JSON":              func(*testing.T) http.Handler { return text(kind, "<html>") },
		"no ID":                func(*testing.T) http.Handler { return page("{}", "c") },
		"empty commands":       func(*testing.T) http.Handler { return page(list("{}", 2*mega), "c") },
		"a long ID":            func(*testing.T) http.Handler { return page(one(strings.Repeat("x", mega), "c"), "c") },
		"a long cursor":        func(*testing.T) http.Handler { return page("", strings.Repeat("x", mega)) },
		"the same by thousand": func(*testing.T) http.Handler { return page(list(one("c", "c"), 4000), "c") },
		"an eternal retry": func(*testing.T) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = io.WriteString(w, `{"type":"urn:miglink:error:unavailable","code":"unavailable","retry_after":1e300}`)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			survives(t, func(url string) (transport.Transport, error) { return longpoll.New(url, longpoll.Options{}) }, "/commands", harm(t), 12)
		})
	}
}

// Over gRPC the same frames come as other bytes; here is what is particular to those.
func TestControllerOverGRPC(t *testing.T) {
	frame := func(n byte, rest ...byte) []byte { return append([]byte{0x08, n}, rest...) }
	bytesOf := func(field byte, content []byte) []byte {
		out := []byte{field<<3 | 2}
		for n := len(content); ; n >>= 7 {
			if n < 0x80 {
				out = append(out, byte(n))
				break
			}
			out = append(out, byte(n)|0x80)
		}
		return append(out, content...)
	}
	hi := frame(1, bytesOf(2, []byte{0x08, 1})...) // welcome of version 1
	for name, messages := range map[string][][]byte{
		"no Protocol Buffers": {[]byte("hello")},
		"no welcome":          {frame(1)},
		"empty commands":      {hi, frame(2, bytesOf(3, []byte(strings.Repeat("\x0a\x00", mega/2)))...)},
		"empty refusals":      {hi, frame(2, bytesOf(4, []byte(strings.Repeat("\x12\x00", mega/2)))...)},
		"too much":            {hi, make([]byte, 3*mega)},
		"groups in groups":    {hi, []byte(strings.Repeat("\x5b", mega))},
	} {
		t.Run(name, func(t *testing.T) {
			h := connect.NewBidiStreamHandler("/miglink.v1.CommandLink/Attach", func(_ context.Context, s *connect.BidiStream[[]byte, []byte]) error {
				if _, err := s.Receive(); err != nil {
					return err
				}
				for _, m := range messages {
					if err := s.Send(&m); err != nil {
						return err
					}
				}
				return nil
			}, connect.WithCodec(asIs{}))
			survives(t, func(url string) (transport.Transport, error) { return grpc.New(url, grpc.Options{}) }, "/Attach", h, 12)
		})
	}
}

// asIs passes bytes through.
type asIs struct{}

func (asIs) Name() string                    { return "proto" }
func (asIs) Marshal(m any) ([]byte, error)   { return *m.(*[]byte), nil }
func (asIs) Unmarshal(b []byte, m any) error { *m.(*[]byte) = append([]byte{}, b...); return nil }
