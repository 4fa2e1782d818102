package uplink_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/uplink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var hello = transport.Hello{VM: "vm-1", Instance: "i-1", Uplink: true}

// ownClient is a client whose connections end with the test.
func ownClient(t *testing.T) *http.Client {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func attach(t *testing.T, o uplink.Options) *uplink.Link {
	t.Helper()
	tr, err := uplink.New("http://localhost", o)
	require.NoError(t, err)
	l, err := tr.Attach(hello)
	require.NoError(t, err)
	return l
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(r *http.Request, status int, body string) *http.Response {
	kind := "application/problem+json"
	if status == http.StatusOK {
		kind = "application/json"
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Request: r,
		Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body)),
	}
}

// recorded is the answer to so many acks.
func recorded(r *http.Request, n int) *http.Response {
	return answer(r, http.StatusOK, fmt.Sprintf(`{"recorded":%d}`, n))
}

func received(id string) ack.Ack { return ack.Ack{CommandID: id, Stage: ack.Received} }

// While one POST is under way further acks wait, and go together in the next; each call hears of its
// own.
func TestAcksGoTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var posts [][]ack.Ack
		l := attach(t, uplink.Options{Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			var acks []ack.Ack
			require.NoError(t, json.NewDecoder(r.Body).Decode(&acks))
			posts = append(posts, acks)
			time.Sleep(time.Second)
			var refused []string
			for i, a := range acks {
				if strings.HasPrefix(a.CommandID, "bad") {
					refused = append(refused, fmt.Sprintf(`{"index":%d,"code":"unknown_command","detail":%q}`, i, a.CommandID))
				}
			}
			if len(refused) > 0 {
				return answer(r, http.StatusConflict, `{"type":"urn:miglink:error:acks_refused","code":"acks_refused","refused":[`+strings.Join(refused, ",")+`]}`), nil
			}
			return recorded(r, len(acks)), nil
		})}})
		defer l.Close()
		var calls sync.WaitGroup
		call := func(check func(error), acks ...ack.Ack) {
			calls.Go(func() { check(l.Ack(t.Context(), acks...)) })
			synctest.Wait()
		}
		good := func(err error) { require.NoError(t, err) }
		call(good, received("1"))
		call(good, received("2"))
		call(func(err error) {
			require.NoError(t, transport.AckError(err, 0))
			require.ErrorIs(t, transport.AckError(err, 1), transport.ErrUnknownCommand)
			require.ErrorContains(t, err, "bad-4")
		}, received("3"), received("bad-4"))
		call(good, received("5"))
		many := make([]ack.Ack, uplink.MaxBatch-3)
		for i := range many {
			many[i] = received("many")
		}
		call(good, many...)
		calls.Wait()
		require.Len(t, posts, 3)
		require.Equal(t, []ack.Ack{received("1")}, posts[0])
		require.Len(t, posts[1], 4, "two, three, four and five; the many do not fit any more")
		require.Len(t, posts[2], len(many))

		// What is too much for one POST goes in several, and each ack is answered.
		posts = nil
		many = make([]ack.Ack, 600)
		for i := range many {
			many[i] = received("many")
		}
		many[299] = received("bad-299")
		err := l.Ack(t.Context(), many...)
		for i := range many {
			require.Equal(t, i == 299, transport.AckError(err, i) != nil)
		}
		require.Len(t, posts, 3)
		posts = nil
		large := make([]ack.Ack, 20)
		for i := range large {
			large[i] = ack.Ack{CommandID: "large", Stage: ack.Succeeded, Result: []byte(`"` + strings.Repeat("x", ack.MaxResult-2) + `"`)}
		}
		require.NoError(t, l.Ack(t.Context(), large...))
		require.Len(t, posts, 3)

		require.NoError(t, l.Ack(t.Context()))
		require.NoError(t, l.Close())
		require.ErrorIs(t, l.Ack(t.Context(), received("6")), transport.ErrClosed)
		require.ErrorIs(t, l.Report(t.Context()), transport.ErrClosed)
	})
}

// What is no answer of a controller is an error, and never a success.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		status int
		body   string
		err    error
		says   string
	}{
		{"recorded", 200, `{"recorded":1}`, nil, ""},
		{"a refusal beyond the acks", 409, `{"type":"urn:miglink:error:acks_refused","code":"acks_refused","refused":[{"index":7,"code":"invalid"}]}`, errors.New(""), "refused ack 7 of 1"},
		{"one refusal", 404, `{"type":"urn:miglink:error:unknown_command","code":"unknown_command"}`, transport.ErrUnknownCommand, ""},
		{"no permission", 401, `{"type":"urn:miglink:error:unauthorized","code":"unauthorized"}`, transport.ErrUnauthorized, ""},
	} {
		l := attach(t, uplink.Options{Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			resp := answer(r, test.status, test.body)
			resp.Status = fmt.Sprint(test.status)
			return resp, nil
		})}})
		err := l.Ack(t.Context(), received("1"))
		if test.err == nil {
			require.NoError(t, err, test.name)
		} else {
			require.ErrorContains(t, err, test.says, test.name)
			if test.says == "" {
				require.ErrorIs(t, err, test.err, test.name)
			}
		}
		require.NoError(t, l.Close())
	}
}

// A controller that does not answer is dead after a while; Close does not wait that long.
func TestSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, stop := memnet.Serve(&http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		})})
		defer stop()
		l := attach(t, uplink.Options{Client: client})
		began := time.Now()
		require.ErrorIs(t, l.Ack(t.Context(), received("1")), context.DeadlineExceeded)
		require.Equal(t, 30*time.Second, time.Since(began))

		ended := make(chan error, 3)
		go func() { ended <- l.Ack(t.Context(), received("1")) }()
		go func() { ended <- l.Report(t.Context()) }()
		go func() {
			_, err := l.Receive(t.Context())
			ended <- err
		}()
		synctest.Wait()
		began = time.Now()
		require.NoError(t, l.Close())
		for range cap(ended) {
			require.ErrorIs(t, <-ended, transport.ErrClosed)
		}
		require.Zero(t, time.Since(began))
	})
}

// A call whose context ends returns; its acks may arrive all the same.
func TestContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		arrived := 0
		l := attach(t, uplink.Options{Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			arrived++
			return recorded(r, 1), nil
		})}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		require.ErrorIs(t, l.Ack(ctx, received("1")), context.DeadlineExceeded)
		require.ErrorIs(t, l.Ack(ctx, received("1")), context.DeadlineExceeded)
		require.NoError(t, l.Close())
		require.Equal(t, 1, arrived)
	})
}

func TestDial(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	s := httptest.NewServer(http.StripPrefix("/api/v1", uplink.Handler(c, uplink.HandlerOptions{
		Authenticator: transport.AuthenticatorFunc(func(_ context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
			if c.Token != "of "+vm {
				return transport.Grant{}, errors.New("no such token: " + c.Token)
			}
			return transport.Grant{}, nil
		}),
	})))
	defer s.Close()
	token := "of vm-1"
	tr, err := uplink.New(s.URL, uplink.Options{Client: ownClient(t), Token: func(context.Context) (string, error) { return token, nil }})
	require.NoError(t, err)
	l, err := tr.Dial(t.Context(), hello)
	require.NoError(t, err)
	defer l.Close()
	p, ok := c.Presence("vm-1")
	require.True(t, ok)
	require.True(t, p.Online)
	require.False(t, p.Attached)

	_, err = tr.Dial(t.Context(), transport.Hello{VM: "vm-1"})
	require.ErrorContains(t, err, "an uplink carries no commands")
	token = "s3cret"
	_, err = tr.Dial(t.Context(), hello)
	require.ErrorIs(t, err, transport.ErrUnauthorized)
	require.NotContains(t, err.Error(), "s3cret")
}

// Many events go in several POSTs, in order.
func TestManyEvents(t *testing.T) {
	t.Parallel()
	var taken []string
	c := controller.New(memory.New(), controller.Options{OnEvent: func(_ context.Context, _ string, e event.Event) error {
		taken = append(taken, e.Type)
		return nil
	}})
	defer c.Close()
	s := httptest.NewServer(http.StripPrefix("/api/v1", uplink.Handler(c, uplink.HandlerOptions{})))
	defer s.Close()
	tr, err := uplink.New(s.URL, uplink.Options{Client: ownClient(t)})
	require.NoError(t, err)
	l, err := tr.Dial(t.Context(), hello)
	require.NoError(t, err)
	defer l.Close()
	events := make([]event.Event, 2*uplink.MaxBatch+1)
	var want []string
	for i := range events {
		events[i].Type = fmt.Sprintf("event_%d", i)
		want = append(want, events[i].Type)
	}
	require.NoError(t, l.Report(t.Context(), events...))
	require.Equal(t, want, taken)
}

// A body that does not arrive ends its request.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		client, stop := memnet.Serve(&http.Server{Handler: uplink.Handler(c, uplink.HandlerOptions{})})
		defer stop()
		body, slow := io.Pipe()
		defer slow.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/vms/vm-1/commands/ack", body)
		require.NoError(t, err)
		began := time.Now()
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusBadRequest, resp.StatusCode)
		require.Equal(t, 30*time.Second, time.Since(began))
	})
}

// FuzzBody posts what an agent, or whoever is in its place, sends. Nothing of it is quoted where it
// does not decode, and no ack but those of the VM's own command changes anything.
func FuzzBody(f *testing.F) {
	for _, body := range []string{
		`{"command_id":"c-1","status":"processed"}`, `[{"command_id":"c-1","stage":"received","attempt":1}]`, `[]`, `null`, `[null]`,
		`{"type":"vm_started","timestamp":"2026-01-02T03:04:05Z"}`, `[{"type":"x","metadata":{"a":1}}]`, `{"status":"s3cret`,
	} {
		for i := range paths {
			f.Add(i, []byte(body))
		}
	}
	c := controller.New(memory.New(), controller.Options{Access: controller.Unlimited()})
	f.Cleanup(func() { c.Close() })
	cmd, err := command.New(command.Drain{}, command.Options{ID: "other"})
	require.NoError(f, err)
	other, err := c.Send(f.Context(), "vm-2", cmd)
	require.NoError(f, err)
	h := uplink.Handler(c, uplink.HandlerOptions{})
	f.Fuzz(func(t *testing.T, path int, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/vms/vm-1/"+paths[uint(path)%uint(len(paths))], strings.NewReader(string(body)))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK, http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge:
		default:
			t.Fatalf("answered with %d: %s", w.Code, w.Body)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("answered with what is no JSON: %q", w.Body)
		}
		e, err := c.Get(t.Context(), other.ID())
		if err != nil || e.State.Stage != ack.Queued {
			t.Fatalf("another VM's command is %s, %v", e.State.Stage, err)
		}
	})
}

var paths = []string{"commands/ack", "events", "heartbeat"}

// After a sign of life the connection is not net/http's any more, until there is more to say.
func TestSignOfLife(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	states := make(chan http.ConnState, 10)
	s := httptest.NewUnstartedServer(http.StripPrefix("/api/v1", uplink.Handler(c, uplink.HandlerOptions{})))
	s.Config.ConnState = func(_ net.Conn, s http.ConnState) { states <- s }
	s.Start()
	defer s.Close()
	tr, err := uplink.New(s.URL, uplink.Options{Client: ownClient(t)})
	require.NoError(t, err)
	l, err := tr.Attach(hello)
	require.NoError(t, err)
	defer l.Close()
	for _, say := range []struct {
		what   func() error
		states []http.ConnState
	}{
		{func() error { return l.Report(t.Context()) }, []http.ConnState{http.StateNew, http.StateActive, http.StateIdle}},
		{func() error { return l.SignOfLife(t.Context(), nil) }, []http.ConnState{http.StateActive, http.StateHijacked}},
		{func() error { return l.SignOfLife(t.Context(), nil) }, []http.ConnState{http.StateNew, http.StateActive, http.StateHijacked}},
		{func() error { return l.Report(t.Context(), event.Event{Type: "job_ended"}) }, []http.ConnState{http.StateNew, http.StateActive, http.StateIdle}},
	} {
		require.NoError(t, say.what())
		for _, want := range say.states {
			require.Equal(t, want, <-states)
		}
	}
	p, _ := c.Presence("vm-1")
	require.True(t, p.Online)
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.SignOfLife(t.Context(), nil), transport.ErrClosed)
}
