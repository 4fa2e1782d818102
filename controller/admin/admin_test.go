package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a controller, its API, and a client of that.
type world struct {
	t      *testing.T
	c      *controller.Controller
	server *httptest.Server
	client *admin.Client
}

func newWorld(t *testing.T, o admin.Options) *world {
	t.Helper()
	w := &world{t: t, c: controller.New(memory.New(), controller.Options{})}
	w.server = httptest.NewServer(http.StripPrefix("/admin", admin.Handler(w.c, o)))
	var err error
	w.client, err = admin.NewClient(w.server.URL+"/admin", transport.Config{})
	require.NoError(t, err)
	t.Cleanup(func() {
		w.c.Close()
		w.server.Close()
	})
	return w
}

func (w *world) request(method, path, body string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+"/admin"+path, strings.NewReader(body))
	require.NoError(w.t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.server.Client().Do(req)
	require.NoError(w.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return resp.StatusCode, string(b)
}

func drain(id string) admin.Send {
	return admin.Send{VM: "vm-1", Type: command.TypeDrain, Parameters: command.Parameters(`{"reason":"deploy"}`), ID: id}
}

// A send is idempotent, and what it answers holds no parameters.
func TestSend(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{})
	s := admin.Send{
		VM: "vm-1", Type: command.TypeRegisterRunner, ID: "c-1", TTL: command.Duration(time.Hour), IdempotencyKey: "k", Supersede: "runner", Urgent: true,
		RunTimeout: command.Duration(90 * time.Second),
		Parameters: command.Parameters(`{"registration_token":"s3cret","runner_url":"https://ci.example.com"}`),
	}
	first, err := w.client.Send(t.Context(), s)
	require.NoError(t, err)
	require.True(t, *first.Created)
	require.Equal(t, ack.Queued, first.Stage)
	require.True(t, first.Urgent)
	require.Equal(t, s.RunTimeout, first.RunTimeout)
	require.WithinDuration(t, time.Now().Add(time.Hour), first.ExpiresAt, time.Minute)
	again, err := w.client.Send(t.Context(), s)
	require.NoError(t, err)
	require.False(t, *again.Created)
	e, err := w.c.Get(t.Context(), "c-1")
	require.NoError(t, err)
	require.Equal(t, "runner", e.Command.SupersedeKey)
	require.Equal(t, command.MillisecondsOf(90_000), e.Command.RunTimeout)

	for _, path := range []string{"/commands/c-1", "/vms/vm-1/commands", "/vms"} {
		status, body := w.request(http.MethodGet, path, "")
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, body, `"vm-1"`)
		require.NotContains(t, body, "s3cret")
	}
	s.Parameters = command.Parameters(`{"registration_token":"other","runner_url":"https://ci.example.com"}`)
	again, err = w.client.Send(t.Context(), s)
	require.NoError(t, err, "a fresh token makes no other command")
	require.False(t, *again.Created)
	e, err = w.c.Get(t.Context(), "c-1")
	require.NoError(t, err)
	require.Contains(t, string([]byte(e.Command.Parameters)), "s3cret", "it keeps the one that it came with")

	s.Parameters = command.Parameters(`{"registration_token":"s3cret","runner_url":"https://other.example.com"}`)
	_, err = w.client.Send(t.Context(), s)
	require.ErrorIs(t, err, transport.ErrKeyReused)
	require.ErrorContains(t, err, "the ID is that of the register_runner command c-1, which is queued")
	s.ID = "c-2"
	_, err = w.client.Send(t.Context(), s)
	require.ErrorContains(t, err, `the idempotency key "k" is that of the register_runner command c-1, which is queued`)
	require.NotContains(t, err.Error(), "s3cret")
	var said *transport.Error
	require.ErrorAs(t, err, &said)
	require.Equal(t, transport.CodeKeyReused, said.Code)
	require.Equal(t, "c-1", said.CommandID)
	require.Equal(t, ack.Queued, said.Stage)
	s.ID, s.VM = "c-1", "vm-2"
	_, err = w.client.Send(t.Context(), s)
	require.ErrorContains(t, err, "of vm-1: choose another ID")
}

// Who says when a command was created says it again with the command; an ID that holds a time says it by itself.
func TestCreatedAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{})
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	uuid := drain("01a211ec-9f10-7a20-91b3-ee961cffb5fa")
	stated := drain("stated")
	stated.CreatedAt = at
	for _, s := range []admin.Send{drain("c-1"), stated, uuid} {
		for i := range 3 {
			time.Sleep(2 * time.Millisecond)
			status, err := w.client.Send(t.Context(), s)
			require.NoError(t, err)
			require.Equal(t, i == 0, *status.Created)
			require.Zero(t, status.CreatedAt.Nanosecond()%int(time.Millisecond))
			if s.ID == "stated" {
				require.Equal(t, at, status.CreatedAt)
			}
		}
		s.CreatedAt = at.Add(time.Millisecond)
		_, err := w.client.Send(t.Context(), s)
		require.ErrorIs(t, err, transport.ErrIDReused)
		require.ErrorContains(t, err, "is queued")
	}
	status, body := w.request(http.MethodPost, "/commands", `{"vm_id":"vm-1","type":"drain","id":"stated","parameters":{"reason":"deploy"},"created_at":"2026-01-02T04:04:05.678+01:00"}`)
	require.Equal(t, http.StatusOK, status, body)
	status, body = w.request(http.MethodPost, "/commands", `{"vm_id":"vm-1","type":"drain","created_at":"yesterday"}`)
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, body, "created_at")
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{})
	for _, test := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/commands", "", 400, "not JSON"},
		{"POST", "/commands", `{"vm_id":7}`, 400, "where a string is wanted"},
		{"POST", "/commands", `{"vm_id":"vm-1"}`, 400, "type"},
		{"POST", "/commands", `{"type":"drain","parameters":{}}`, 400, "vm_id"},
		{"POST", "/commands", `{"vm_id":"vm-1","type":"drain","ttl":"-1s"}`, 400, "invalid"},
		{"POST", "/commands", `{"vm_id":"vm-1","type":"drain","run_timeout":"0.5s"}`, 400, "run_timeout is 500ms, 1s to 168h0m0s are allowed"},
		{"POST", "/commands", `{"vm_id":"vm-1","type":"drain","parameters":[1]}`, 400, "object"},
		{"POST", "/commands", `{"vm_id":"vm-1","type":"set_log_level","parameters":{"level":""}}`, 400, "level"},
		{"POST", "/commands", `{"vm_id":"vm-1","type":"drain","parameters":{"x":"` + strings.Repeat("x", command.MaxParameters) + `"}}`, 413, "too_large"},
		{"POST", "/commands", strings.Repeat(" ", 1<<20+1) + "{}", 413, "too_large"},
		{"GET", "/commands/none", "", 404, "unknown_command"},
		{"GET", "/nowhere", "", 404, "there is no such endpoint"},
		{"DELETE", "/commands/none", "", 405, "this endpoint wants GET"},
		{"GET", "/commands/none?wait=1s", "", 404, "unknown_command"},
		{"GET", "/commands/none?wait=soon", "", 400, "wait"},
		{"GET", "/commands/none?wait=-1s", "", 400, "wait"},
		{"POST", "/commands/none/cancel", "{}", 404, "unknown_command"},
		{"POST", "/commands/none/cancel", "", 400, "not JSON"},
		{"GET", "/vms/none", "", 404, "nothing was heard"},
		{"GET", "/vms/vm-1/commands?limit=0", "", 400, "limit"},
		{"GET", "/vms/vm-1/commands?limit=100000", "", 400, "limit"},
		{"GET", "/vms/vm-1/commands?before=x", "", 400, "before"},
	} {
		status, body := w.request(test.method, test.path, test.body)
		name := fmt.Sprintf("%s %s %.60s: %s", test.method, test.path, test.body, body)
		require.Equal(t, test.status, status, name)
		require.Contains(t, body, test.says, name)
		require.True(t, json.Valid([]byte(body)), name)
	}
}

// What would be ignored, or mended to mean something else, is refused by its name, and nothing is done.
func TestNothingIsIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{})
	_, err := w.client.Send(t.Context(), drain("c-1"))
	require.NoError(t, err)
	for _, test := range []struct{ method, path, body, says string }{
		{"POST", "/commands", `{"vm_id":"vm-2","type":"drain","tll":"1s"}`, `no field \"tll\", did you mean \"ttl\"`},
		{"POST", "/commands", `{"vm_id":"vm-2","type":"drain","parameter":{"reason":"x"}}`, `no field \"parameter\", did you mean \"parameters\"`},
		{"POST", "/commands", `{"vm_id":"vm-2","type":"drain","expires_at":"2030-01-01T00:00:00Z"}`, `no field \"expires_at\". There are: vm_id, type,`},
		{"POST", "/commands", `{"vm_id":"vm-2","type":"drain","ID":"c-2"}`, `no field \"ID\", did you mean \"id\"`},
		{"POST", "/commands", `{"vm_id":"vm-2","type":"drain","id":"c-2","id":"c-3"}`, `\"id\" is there twice`},
		{"POST", "/commands", `{"vm_id":"vm-2","type":"drain","parameters":{"reason":"a","reason":"b"}}`, `\"reason\" is there twice`},
		{"POST", "/commands", `{"vm_id":"vm-2","type":"drain"}{"vm_id":"vm-2","type":"drain"}`, "something follows the JSON value, at byte 31"},
		{"POST", "/commands", `{"vm_id":"vm-2","type":"drain","id":"\ud800"}`, "half a surrogate pair"},
		{"POST", "/commands", "{\"vm_id\":\"vm-2\",\"type\":\"drain\",\"id\":\"\xff\"}", "not UTF-8"},
		{"POST", "/commands", `{"vm_id":"vm-\udfff","type":"drain"}`, "half a surrogate pair"},
		{"POST", "/commands?wait=1s", `{"vm_id":"vm-2","type":"drain"}`, `no parameter \"wait\"`},
		{"POST", "/commands/c-1/cancel", `{"raeson":"x"}`, `no field \"raeson\", did you mean \"reason\"`},
		{"POST", "/commands/c-1/cancel", `{"reason":"x"}]`, "something follows"},
		{"POST", "/commands/c-1/cancel?reason=x", `{}`, `no parameter \"reason\"`},
		{"GET", "/commands/c-1?wiat=1s", "", `no parameter \"wiat\", did you mean \"wait\"`},
		{"GET", "/vms?befor=x", "", `no parameter \"befor\"`},
		{"GET", "/vms/vm-1/commands?limt=1", "", `no parameter \"limt\", did you mean \"limit\"`},
		{"GET", "/vms/vm-1/commands?limit=1&limit=2", "", "limit is there twice"},
		{"GET", "/vms/vm-1/commands?limit=1;before=2", "", "does not parse"},
		{"GET", "/vms/vm-1?x", "", `no parameter \"x\"`},
		{"GET", "/watch?vm=vm-1", "", `no parameter \"vm\", did you mean \"vm_id\"`},
	} {
		status, body := w.request(test.method, test.path, test.body)
		name := fmt.Sprintf("%s %s %.80s: %s", test.method, test.path, test.body, body)
		require.Equal(t, http.StatusBadRequest, status, name)
		require.Contains(t, body, test.says, name)
	}
	fleet, err := w.client.Fleet(t.Context())
	require.NoError(t, err)
	require.Len(t, fleet, 1, "nothing was sent to another")
	s, err := w.client.Get(t.Context(), "c-1")
	require.NoError(t, err)
	require.Nil(t, s.Cancel)
}

// A wait ends when the command is settled, when the time is up, or with the caller's context.
func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		http, stop := memnet.Serve(&http.Server{Handler: admin.Handler(c, admin.Options{})})
		defer stop()
		cmd, err := command.New(command.Drain{}, command.Options{ID: "c-1"})
		require.NoError(t, err)
		_, err = c.Send(t.Context(), "vm-1", cmd)
		require.NoError(t, err)

		began := time.Now()
		resp, err := http.Get("http://localhost/commands/c-1?wait=24h")
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, time.Minute, time.Since(began))

		began = time.Now()
		go func() {
			time.Sleep(7 * time.Second)
			_, err := c.Cancel(t.Context(), "c-1", "")
			require.NoError(t, err)
		}()
		resp, err = http.Get("http://localhost/commands/c-1?wait=30s")
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, 7*time.Second, time.Since(began))
	})
}

func TestClientWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{})
	_, err := w.client.Send(t.Context(), drain("c-1"))
	require.NoError(t, err)
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	s, err := w.client.Wait(short, "c-1")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, "c-1", s.ID, "as it is by then")
	go w.client.Cancel(context.WithoutCancel(t.Context()), "c-1", "no")
	s, err = w.client.Wait(t.Context(), "c-1")
	require.NoError(t, err)
	require.Equal(t, ack.Canceled, s.Stage)
	_, err = w.client.Wait(t.Context(), "c-2")
	require.ErrorIs(t, err, transport.ErrUnknownCommand)
}

// What a command is called by is the same for each request about it, also where a path cannot hold it as it is.
func TestClientOddIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{})
	for _, id := range []string{"a/b", "=41", "%2F", "../../vms", "a b?c#d;e", "é"} {
		_, err := w.client.Send(t.Context(), drain(id))
		require.NoError(t, err)
		_, err = w.client.Cancel(t.Context(), id, "")
		require.NoError(t, err)
		s, err := w.client.Wait(t.Context(), id)
		require.NoError(t, err, id)
		require.Equal(t, ack.Canceled, s.Stage)
		s, err = w.client.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, id, s.ID)
	}
}

func TestFleetAndList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{})
	for i := range 5 {
		_, err := w.client.Send(t.Context(), drain(fmt.Sprint("c-", i)))
		require.NoError(t, err)
	}
	l, err := w.c.Dial(t.Context(), transport.Hello{VM: "vm-2", Instance: "i-1", Via: "ws"})
	require.NoError(t, err)
	defer l.Close()
	fleet, err := w.client.Fleet(t.Context())
	require.NoError(t, err)
	require.Len(t, fleet, 2)
	require.Equal(t, 5, fleet[0].Pending)
	require.False(t, fleet[0].Online)
	require.True(t, fleet[1].Online)
	require.Equal(t, "ws", fleet[1].Transport)
	status, body := w.request(http.MethodGet, "/vms/vm-2", "")
	require.Equal(t, http.StatusOK, status, body)

	page, err := w.client.List(t.Context(), "vm-1", 0, 3)
	require.NoError(t, err)
	require.Len(t, page, 3)
	require.Equal(t, "c-4", page[0].ID)
	page, err = w.client.List(t.Context(), "vm-1", page[2].Seq, 3)
	require.NoError(t, err)
	require.Len(t, page, 2)
	require.Equal(t, "c-0", page[1].ID)
}

// A watch tells what happens, of one VM or all, until either side ends it.
func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := make(chan struct{})
	seen := make(chan admin.Notice, 100)
	ended := make(chan error, 1)
	go func() {
		for n, err := range w.client.Watch(ctx, "vm-1") {
			if err != nil {
				ended <- err
				return
			}
			select {
			case <-began:
			default:
				close(began)
			}
			seen <- n
		}
	}()
	for i := 0; ; i++ { // a watch sees what happens after it has begun
		_, err := w.client.Send(t.Context(), admin.Send{VM: "vm-2", Type: command.TypeDrain})
		require.NoError(t, err)
		_, err = w.client.Send(t.Context(), drain(fmt.Sprint("c-", i)))
		require.NoError(t, err)
		select {
		case <-began:
		case <-time.After(10 * time.Millisecond):
			continue
		}
		break
	}
	n := <-seen
	require.Equal(t, "vm-1", n.VM)
	require.Equal(t, ack.Queued, n.Command.Stage)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)

	// The end of the controller is the end of the stream.
	seeing := make(chan struct{}, 1)
	go func() {
		for _, err := range w.client.Watch(t.Context(), "") {
			if err != nil {
				ended <- err
				return
			}
			select {
			case seeing <- struct{}{}:
			default:
			}
		}
	}()
	for seen := false; !seen; {
		_, err := w.client.Send(t.Context(), admin.Send{VM: "vm-2", Type: command.TypeDrain})
		require.NoError(t, err)
		select {
		case <-seeing:
			seen = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	require.NoError(t, w.c.Close())
	require.ErrorContains(t, <-ended, "ended the stream")
}

// Over HTTP/2 a write deadline ends a stream on which nobody writes, too: a watch leaves none behind.
func TestWatchIdlesOverHTTP2(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		client, stop := memnet.ServeHTTP2(web.NewServer(t.Context(), admin.Handler(c, admin.Options{}), web.ServerOptions{}))
		defer stop()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/watch", http.NoBody)
		require.NoError(t, err)
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		comments := 0
		for comments < 10 && lines.Scan() { // one each 15 s
			if strings.HasPrefix(lines.Text(), ":") {
				comments++
			}
		}
		require.NoError(t, lines.Err())
		require.Equal(t, 10, comments)
	})
}

func TestClientErrors(t *testing.T) {
	t.Parallel()
	_, err := admin.NewClient("controller", transport.Config{})
	require.ErrorContains(t, err, "http://")
	client, err := admin.NewClient("http://127.0.0.1:1", transport.Config{})
	require.NoError(t, err)
	_, err = client.Fleet(t.Context())
	require.ErrorContains(t, err, "cannot reach the controller at http://127.0.0.1:1")
	for _, err := range client.Watch(t.Context(), "") {
		require.ErrorContains(t, err, "cannot reach")
	}
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }))
	defer page.Close()
	client, err = admin.NewClient(page.URL, transport.Config{})
	require.NoError(t, err)
	_, err = client.Fleet(t.Context())
	require.ErrorContains(t, err, "it is not JSON")
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, ": begun\n\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer broken.Close()
	client, err = admin.NewClient(broken.URL, transport.Config{})
	require.NoError(t, err)
	for _, err := range client.Watch(t.Context(), "") {
		require.ErrorContains(t, err, "the stream broke off: ")
	}
}

// punctual is a ledger that does not answer whoever does not wait any more.
type punctual struct{ *memory.Ledger }

func (l punctual) Get(ctx context.Context, id string) (*ledger.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return l.Ledger.Get(ctx, id)
}

// Where the time to wait is over before the ledger was asked, the answer is what was known.
func TestWaitThatIsOverAtOnce(t *testing.T) {
	t.Parallel()
	c := controller.New(punctual{memory.New()}, controller.Options{})
	defer c.Close()
	cmd, err := command.New(command.Drain{}, command.Options{ID: "c-1"})
	require.NoError(t, err)
	_, err = c.Send(t.Context(), "vm-1", cmd)
	require.NoError(t, err)
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/commands/c-1?wait=1ns", nil)
	admin.Handler(c, admin.Options{}).ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `"stage":"queued"`)
}
