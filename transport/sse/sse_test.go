package sse_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var hello = transport.Hello{VM: "vm-1", Instance: "i-1"}

func send(t *testing.T, c *controller.Controller, vm string, bytes int) *controller.Receipt {
	t.Helper()
	cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: strings.Repeat("x", bytes)}, command.Options{})
	require.NoError(t, err)
	r, err := c.Send(t.Context(), vm, cmd)
	require.NoError(t, err)
	return r
}

func open(t *testing.T, url string, o sse.Options) *sse.Transport {
	t.Helper()
	tr, err := sse.New(url, o)
	require.NoError(t, err)
	return tr
}

// Scenario 75: a proxy that holds the answer back is noticed by the dial, which says so.
func TestBufferingProxy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		behind, stopServer := memnet.Serve(&http.Server{Handler: http.StripPrefix("/api/v1", web.Handler(c, web.Options{}))})
		defer stopServer()
		proxy := &httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "localhost"}) },
			Transport: behind.Transport,
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
				w.WriteHeader(http.StatusBadGateway)
			},
		}
		client, stopProxy := memnet.Serve(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			proxy.ServeHTTP(holdsBack{w}, r)
		})})
		defer stopProxy()

		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := open(t, "http://proxy/", sse.Options{Client: client}).Dial(ctx, hello)
		require.ErrorContains(t, err, "holds it back")
		require.Less(t, time.Since(began), 15*time.Second)
	})
}

// holdsBack sends the header at once and no byte of the body before its end.
type holdsBack struct{ http.ResponseWriter }

func (w holdsBack) WriteHeader(status int) {
	w.ResponseWriter.WriteHeader(status)
	w.ResponseWriter.(http.Flusher).Flush()
}

func (w holdsBack) Write(b []byte) (int, error) { return len(b), nil }

// Scenario 76: the server's own WriteTimeout does not end a stream.
func TestWriteTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		client, stop := memnet.Serve(&http.Server{
			Handler:      http.StripPrefix("/api/v1", web.Handler(c, web.Options{})),
			WriteTimeout: 5 * time.Second,
		})
		defer stop()
		l, err := open(t, "http://localhost/", sse.Options{Client: client}).Dial(t.Context(), hello)
		require.NoError(t, err)
		defer l.Close()
		for range 10 {
			time.Sleep(time.Minute)
			r := send(t, c, "vm-1", 1)
			page, err := l.Receive(t.Context())
			require.NoError(t, err)
			require.Len(t, page, 1)
			require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
		}
	})
}

// Over HTTP/2 a write deadline ends a stream on which nobody writes, too: none is left behind.
func TestIdleOverHTTP2(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		client, stop := memnet.ServeHTTP2(web.NewServer(t.Context(), http.StripPrefix("/api/v1", web.Handler(c, web.Options{})), web.ServerOptions{}))
		defer stop()
		l, err := open(t, "http://localhost/", sse.Options{Client: client}).Dial(t.Context(), hello)
		require.NoError(t, err)
		defer l.Close()
		for range 3 {
			time.Sleep(time.Minute)
			r := send(t, c, "vm-1", 1)
			page, err := l.Receive(t.Context())
			require.NoError(t, err)
			require.Equal(t, r.ID(), page[0].ID)
			require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
		}
	})
}

// A client that does not read holds its own stream up, until the write deadline ends it, and nothing
// else.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{Lease: time.Second})
		defer c.Close()
		client, stop := memnet.Serve(&http.Server{Handler: http.StripPrefix("/api/v1", web.Handler(c, web.Options{}))})
		defer stop()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/api/v1/vms/vm-1/commands/stream", http.NoBody)
		require.NoError(t, err)
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		for range 10 {
			send(t, c, "vm-1", 20_000)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		p, _ := c.Presence("vm-1")
		require.False(t, p.Attached, "the stream has ended")
	})
}

// Scenario 77: over HTTP/2, where streams share a connection, one that nobody reads does not hold
// another up.
func TestSlowStreamOverHTTP2(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	s := httptest.NewUnstartedServer(http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	client := s.Client()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/vms/slow/commands/stream", http.NoBody)
	require.NoError(t, err)
	slow, err := client.Do(req)
	require.NoError(t, err)
	defer slow.Body.Close()
	require.Equal(t, 2, slow.ProtoMajor)
	// More than the client takes in unread, for the stream and not for the connection.
	for range 100 {
		send(t, c, "slow", 60_000)
	}
	l, err := open(t, s.URL, sse.Options{Client: client}).Dial(t.Context(), hello)
	require.NoError(t, err)
	defer l.Close()
	for range 5 {
		r := send(t, c, "vm-1", 60_000)
		page, err := l.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, r.ID(), page[0].ID)
		require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
	}
}

// A stream on which nothing comes, comments neither, is dead after twice the keepalive, and so is a
// controller that takes no POST.
func TestSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var posts atomic.Int32
		client, stop := memnet.Serve(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				posts.Add(1)
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, `{"taken":0}`)
				return
			}
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, ": miglink\n\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})})
		defer stop()
		l, err := open(t, "http://localhost/", sse.Options{Client: client, Keepalive: 10 * time.Second}).Dial(t.Context(), hello)
		require.NoError(t, err)
		defer l.Close()
		began := time.Now()
		_, err = l.Receive(t.Context())
		require.ErrorContains(t, err, "nothing was heard")
		require.Equal(t, 20*time.Second, time.Since(began))
		require.Positive(t, posts.Load(), "the agent said that it lives")
	})
}

// answer is an HTTP client whose every GET is answered by what a test says.
func answer(status int, header http.Header, body io.Reader) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPost {
			return &http.Response{StatusCode: http.StatusOK, Header: jsonHeader, Body: io.NopCloser(strings.NewReader(`{"taken":0}`)), Request: r}, nil
		}
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: header, Body: io.NopCloser(body), Request: r}, nil
	})}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var jsonHeader = http.Header{"Content-Type": {"application/json"}}

var eventStream = http.Header{"Content-Type": {"text/event-stream"}}

func TestDialErrors(t *testing.T) {
	t.Parallel()
	refused := errors.New("connection refused")
	for _, test := range []struct {
		name   string
		client *http.Client
		is     error
		says   string
	}{
		{"nobody there", &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, refused })}, refused, ""},
		{"a login page", answer(200, http.Header{"Content-Type": {"text/html"}}, strings.NewReader("<html>")), nil, `text/html): it is not an event stream`},
		{"a redirect", answer(302, nil, strings.NewReader("")), nil, "something between"},
		{"a proxy's 503", answer(503, http.Header{"Server": {"squid"}}, strings.NewReader("busy")), nil, "(Server squid)"},
		{"the stream of another program", answer(200, eventStream, strings.NewReader("data: hello\n\n")), nil, "the stream is of something else"},
		{"a problem", answer(409, http.Header{"Content-Type": {"application/problem+json"}}, strings.NewReader(`{"type":"urn:miglink:error:superseded","code":"superseded","detail":"by i-2"}`)), transport.ErrSuperseded, "by i-2"},
		{"an empty stream", answer(200, eventStream, strings.NewReader("")), io.EOF, ""},
	} {
		_, err := open(t, "http://localhost/", sse.Options{Client: test.client}).Dial(t.Context(), hello)
		require.Error(t, err, test.name)
		if test.is != nil {
			require.ErrorIs(t, err, test.is, test.name)
		}
		require.ErrorContains(t, err, test.says, test.name)
	}
	_, err := open(t, "http://localhost/", sse.Options{}).Dial(t.Context(), transport.Hello{})
	require.ErrorIs(t, err, transport.ErrInvalid)
	_, err = sse.New("controller:8080", sse.Options{})
	require.ErrorContains(t, err, "neither http:// nor https://")

	noToken := errors.New("the metadata server is down")
	_, err = open(t, "http://localhost/", sse.Options{
		Client: answer(200, eventStream, strings.NewReader(":\n\n")),
		Token:  func(context.Context) (string, error) { return "", noToken },
	}).Dial(t.Context(), hello)
	require.ErrorIs(t, err, noToken)
}

// What a controller sends ends the link where it makes no sense, and only there.
func TestStream(t *testing.T) {
	t.Parallel()
	const cmd = "id: e.1.0\nevent: command\ndata: {\"id\":\"c-1\",\"type\":\"drain\",\"attempt\":1}\n\n"
	for _, test := range []struct {
		name, stream string
		commands     int
		is           error
		says         string
	}{
		{"a command", cmd, 1, nil, "stream ended"},
		{"carriage returns", strings.ReplaceAll(cmd, "\n", "\r\n"), 1, nil, "stream ended"},
		{"events of a later version", "event: later\ndata: {}\n\n" + cmd + "data: x\n\n", 1, nil, "stream ended"},
		{"data on several lines", "event: command\ndata: {\"id\":\"c-1\",\ndata: \"type\":\"drain\"}\n\n", 1, nil, "stream ended"},
		{"no JSON", cmd + "event: command\ndata: {\n\n" + cmd, 1, nil, "does not decode"},
		{"no command ID", "event: command\ndata: {}\n\n", 0, nil, "without an ID"},
		{"no cursor", "id: \x01\nevent: command\ndata: {\"id\":\"c-1\"}\n\n", 0, nil, "a cursor that is none"},
		{"a reason", "event: close\ndata: {\"code\":\"unavailable\",\"message\":\"stopping\",\"retry_after\":1.5}\n\n", 0, transport.ErrUnavailable, "retry after 1.5s"},
		{"a reason that is none", "event: close\ndata: {}\n\n", 0, nil, "does not decode"},
		{"a reason to wait for ever", "event: close\ndata: {\"code\":\"unavailable\",\"retry_after\":1e300}\n\n", 0, nil, "does not decode"},
		{"an event without end", "data: " + strings.Repeat("x", 4<<20), 0, nil, "sse: "},
	} {
		l, err := open(t, "http://localhost/", sse.Options{
			Client: answer(200, eventStream, strings.NewReader(": miglink\n\n"+test.stream)),
		}).Dial(t.Context(), hello)
		require.NoError(t, err, test.name)
		n := 0
		for {
			page, err := l.Receive(t.Context())
			n += len(page)
			if err == nil {
				require.Equal(t, "c-1", page[0].ID, test.name)
				continue
			}
			require.ErrorContains(t, err, test.says, test.name)
			if test.is != nil {
				require.ErrorIs(t, err, test.is, test.name)
			}
			break
		}
		require.Equal(t, test.commands, n, test.name)
		require.NoError(t, l.Close())
		require.NoError(t, l.Close(), "twice is fine")
	}
}

// A POST whose fate is unknown ends the link; one that is refused does not.
func TestPosts(t *testing.T) {
	t.Parallel()
	status := 0
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet {
			body, _ := io.Pipe()
			return &http.Response{StatusCode: http.StatusOK, Header: eventStream, Body: struct {
				io.Reader
				io.Closer
			}{io.MultiReader(strings.NewReader(": miglink\n\n"), untilDone{r.Context()}), body}, Request: r}, nil
		}
		if status == 0 {
			return nil, errors.New("connection reset")
		}
		if status == http.StatusOK {
			return &http.Response{StatusCode: status, Header: jsonHeader, Body: io.NopCloser(strings.NewReader(`{"recorded":1}`)), Request: r}, nil
		}
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {"application/problem+json"}},
			Body: io.NopCloser(strings.NewReader(`{"type":"urn:miglink:error:unknown_command","code":"unknown_command"}`)), Request: r,
		}, nil
	})}
	l, err := open(t, "http://localhost/", sse.Options{Client: client}).Dial(t.Context(), hello)
	require.NoError(t, err)
	defer l.Close()
	said := ack.Ack{CommandID: "c-1", Stage: ack.Received}

	status = 404
	require.ErrorIs(t, l.Ack(t.Context(), said), transport.ErrUnknownCommand)
	status = 200
	require.NoError(t, l.Ack(t.Context(), said))
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = l.Receive(short)
	require.ErrorIs(t, err, context.DeadlineExceeded, "the link lives")
	status = 0
	require.ErrorContains(t, l.Ack(t.Context(), said), "connection reset")
	_, err = l.Receive(t.Context())
	require.ErrorContains(t, err, "connection reset")
}

// untilDone is a stream on which nothing comes.
type untilDone struct{ ctx context.Context }

func (u untilDone) Read([]byte) (int, error) {
	<-u.ctx.Done()
	return 0, u.ctx.Err()
}

// The stream of a client that makes no promise to be heard of ends, and says that it may be opened
// again at once.
func TestStreamOfCurlEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		client, stop := memnet.Serve(&http.Server{Handler: http.StripPrefix("/api/v1", web.Handler(c, web.Options{}))})
		defer stop()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/api/v1/vms/vm-1/commands/stream", http.NoBody)
		require.NoError(t, err)
		began := time.Now()
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Contains(t, string(b), "event: close\ndata: {\"code\":\"moved\"")
		require.LessOrEqual(t, time.Since(began), 10*time.Minute)
		require.GreaterOrEqual(t, time.Since(began), 5*time.Minute)
	})
}

// FuzzStream feeds a link what a controller, or what is in its place, sends.
func FuzzStream(f *testing.F) {
	f.Add([]byte(": miglink\n\nid: e.1.0\nevent: command\ndata: {\"id\":\"c\",\"type\":\"drain\"}\n\n"))
	f.Add([]byte("event: close\ndata: {\"code\":\"unavailable\",\"retry_after\":1}\n\n"))
	f.Add([]byte("\xef\xbb\xbfdata\n\nid: \x00\nevent:command\rdata:{}\r\r"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		tr := open(t, "http://localhost/", sse.Options{Client: answer(200, eventStream, strings.NewReader(string(stream)))})
		l, err := tr.Dial(t.Context(), hello)
		if err != nil {
			return
		}
		defer l.Close()
		for {
			page, err := l.Receive(t.Context())
			if err != nil {
				return
			}
			for _, d := range page {
				if d.ID == "" {
					t.Fatal("a command without an ID")
				}
				if !d.Cursor.Valid() { // it goes into a header
					t.Fatalf("cursor %q", d.Cursor)
				}
			}
		}
	})
}
