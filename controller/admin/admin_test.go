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
		Parameters: command.Parameters(`{"registration_token":"s3cret","runner_url":"https://ci.example.com"}`),
	}
	first, err := w.client.Send(t.Context(), s)
	require.NoError(t, err)
	require.True(t, *first.Created)
	require.Equal(t, ack.Queued, first.Stage)
	require.True(t, first.Urgent)
	require.WithinDuration(t, time.Now().Add(time.Hour), first.ExpiresAt, time.Minute)
	again, err := w.client.Send(t.Context(), s)
	require.NoError(t, err)
	require.False(t, *again.Created)
	e, err := w.c.Get(t.Context(), "c-1")
	require.NoError(t, err)
	require.Equal(t, "runner", e.Command.SupersedeKey)

	for _, path := range []string{"/commands/c-1", "/vms/vm-1/commands", "/vms"} {
		status, body := w.request(http.MethodGet, path, "")
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, body, `"vm-1"`)
		require.NotContains(t, body, "s3cret")
	}
	s.Parameters = command.Parameters(`{"registration_token":"other","runner_url":"https://ci.example.com"}`)
	_, err = w.client.Send(t.Context(), s)
	require.ErrorIs(t, err, transport.ErrKeyReused)
	require.NotContains(t, err.Error(), "s3cret")
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
		{"POST", "/commands", `{"vm_id":7}`, 400, "not JSON"},
		{"POST", "/commands", `{"vm_id":"vm-1"}`, 400, "type"},
		{"POST", "/commands", `{"type":"drain","parameters":{}}`, 400, "vm_id"},
		{"POST", "/commands", `{"vm_id":"vm-1","type":"drain","ttl":"-1s"}`, 400, "invalid"},
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
		resp, err := http.Get("http://controller/commands/c-1?wait=24h")
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, time.Minute, time.Since(began))

		began = time.Now()
		go func() {
			time.Sleep(7 * time.Second)
			_, err := c.Cancel(t.Context(), "c-1", "")
			require.NoError(t, err)
		}()
		resp, err = http.Get("http://controller/commands/c-1?wait=30s")
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
		client, stop := memnet.ServeHTTP2(web.NewServer(t.Context(), admin.Handler(c, admin.Options{})))
		defer stop()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://controller/watch", http.NoBody)
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
	require.ErrorContains(t, err, "not that of a controller")
}
