package longpoll_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
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
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var hello = transport.Hello{VM: "vm-1", Instance: "i-1"}

// inWorld runs a test under fake time, with a controller and a client that reaches it.
func inWorld(t *testing.T, test func(t *testing.T, c *controller.Controller, client *http.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		client, stop := memnet.Serve(&http.Server{Handler: http.StripPrefix("/api/v1", web.Handler(c, web.Options{}))})
		defer stop()
		test(t, c, client)
	})
}

func send(t *testing.T, c *controller.Controller) *controller.Receipt {
	t.Helper()
	cmd, err := command.New(command.Drain{}, command.Options{})
	require.NoError(t, err)
	r, err := c.Send(t.Context(), "vm-1", cmd)
	require.NoError(t, err)
	return r
}

func open(t *testing.T, o longpoll.Options) *longpoll.Transport {
	t.Helper()
	tr, err := longpoll.New("http://localhost", o)
	require.NoError(t, err)
	return tr
}

// page is the answer to a poll, as a client in another language would read it.
type page struct {
	VM       string `json:"vm_id"`
	Commands []struct {
		ID string `json:"id"`
	} `json:"commands"`
	Cursor string `json:"cursor"`
}

func poll(t *testing.T, client *http.Client, query string) (int, page, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/api/v1/vms/vm-1/commands?"+query, http.NoBody)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var p page
	require.NoError(t, json.Unmarshal(b, &p))
	return resp.StatusCode, p, string(b)
}

// A poll is held until a command is there or its wait is over.
func TestWait(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, c *controller.Controller, client *http.Client) {
		for query, held := range map[string]time.Duration{
			"":          100 * time.Millisecond,
			"wait=10s":  10 * time.Second,
			"wait=24h":  time.Minute,
			"wait=20ms": 20 * time.Millisecond,
		} {
			began := time.Now()
			status, p, body := poll(t, client, query)
			require.Equal(t, http.StatusOK, status, query)
			require.Equal(t, held, time.Since(began), query)
			require.Equal(t, `{"vm_id":"vm-1","commands":[],"cursor":""}`, strings.TrimSpace(body), query)
			require.Empty(t, p.Commands)
		}
		began := time.Now()
		go func() {
			time.Sleep(3 * time.Second)
			send(t, c)
		}()
		_, p, _ := poll(t, client, "wait=30s")
		require.Len(t, p.Commands, 1)
		require.Equal(t, 3*time.Second, time.Since(began))
		require.NotEmpty(t, p.Cursor)
	})
}

// A second poll of an agent ends its first, which consumes nothing.
func TestSecondPollEndsTheFirst(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, c *controller.Controller, client *http.Client) {
		ended := make(chan string)
		go func() {
			status, _, body := poll(t, client, "instance=i-1&wait=30s")
			ended <- fmt.Sprint(status, body)
		}()
		synctest.Wait()
		second := make(chan page)
		go func() {
			_, p, _ := poll(t, client, "instance=i-1&wait=30s")
			second <- p
		}()
		first := <-ended
		require.Contains(t, first, "409")
		require.Contains(t, first, `"code":"replaced"`)
		r := send(t, c)
		p := <-second
		require.Len(t, p.Commands, 1)
		require.Equal(t, r.ID(), p.Commands[0].ID)
	})
}

// A link polls on and on, and resumes at the cursor of the last answer that arrived.
func TestLink(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, c *controller.Controller, client *http.Client) {
		var asked []url.Values
		spy := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodGet {
				asked = append(asked, r.URL.Query())
			}
			return client.Transport.RoundTrip(r)
		})}
		l, err := open(t, longpoll.Options{Client: spy}).Dial(t.Context(), hello)
		require.NoError(t, err)
		defer l.Close()
		go func() {
			time.Sleep(time.Minute)
			send(t, c)
		}()
		got, err := l.Receive(t.Context())
		require.NoError(t, err)
		require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: got[0].ID, Stage: ack.Succeeded}))
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = l.Receive(short)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		require.Len(t, asked, 5)
		require.Equal(t, "1ms", asked[0].Get("wait"))
		for _, q := range asked[1:] {
			require.Equal(t, "25s", q.Get("wait"))
			require.Equal(t, "i-1", q.Get("instance"))
		}
		require.Empty(t, asked[3].Get("after"))
		require.Equal(t, string(got[0].Cursor), asked[4].Get("after"))
	})
}

// answer is an HTTP client whose every answer is what a test says.
func answer(status int, header http.Header, body io.Reader) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: header, Body: io.NopCloser(body), Request: r}, nil
	})}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

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
		{"a login page", answer(200, nil, strings.NewReader("<html>")), nil, "it is not JSON"},
		{"a portal's JSON", answer(200, jsonHeader, strings.NewReader(`{"status":"ok"}`)), nil, "no page of commands"},
		{"another VM's page", answer(200, jsonHeader, strings.NewReader(`{"vm_id":"vm-2","commands":[],"cursor":""}`)), nil, `no page of commands of "vm-1"`},
		{"half an answer", answer(200, jsonHeader, strings.NewReader(`{"vm_id":"vm-1","commands":[{"id":"c`)), nil, "no page of commands"},
		{"an answer that breaks off", answer(200, jsonHeader, io.MultiReader(strings.NewReader(`{}`), broken{})), io.ErrUnexpectedEOF, ""},
		{"an answer without end", answer(200, jsonHeader, endless{}), nil, "larger than"},
		{"a redirect", answer(302, nil, strings.NewReader("")), nil, "something between"},
		{"a problem", answer(503, http.Header{"Content-Type": {"application/problem+json"}}, strings.NewReader(`{"type":"urn:miglink:error:unavailable","code":"unavailable","retry_after":2.5}`)), transport.ErrUnavailable, "2.5s"},
	} {
		_, err := open(t, longpoll.Options{Client: test.client}).Dial(t.Context(), hello)
		require.Error(t, err, test.name)
		if test.is != nil {
			require.ErrorIs(t, err, test.is, test.name)
		}
		require.ErrorContains(t, err, test.says, test.name)
	}
	for _, wait := range []time.Duration{-1, time.Microsecond, 2 * time.Minute} {
		_, err := longpoll.New("http://localhost", longpoll.Options{Wait: wait})
		require.ErrorContains(t, err, "not within 1ms and 1m0s")
	}
}

var jsonHeader = http.Header{"Content-Type": {"application/json"}}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// A controller that does not answer is dead some time after the wait is over.
func TestSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, stop := memnet.Serve(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("wait") == "1ms" {
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, `{"vm_id":"vm-1"}`)
				return
			}
			<-r.Context().Done()
		})})
		defer stop()
		l, err := open(t, longpoll.Options{Client: client}).Dial(t.Context(), hello)
		require.NoError(t, err)
		defer l.Close()
		began := time.Now()
		_, err = l.Receive(t.Context())
		require.ErrorContains(t, err, "no answer within 15s")
		require.Equal(t, 40*time.Second, time.Since(began))

		go func() {
			time.Sleep(time.Second)
			l.Close()
		}()
		_, err = l.Receive(t.Context())
		require.ErrorIs(t, err, transport.ErrClosed)
	})
}

// A controller that does not hold polls is not asked without end.
func TestPolledPolitely(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		polls := 0
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			polls++
			return &http.Response{StatusCode: http.StatusOK, Header: jsonHeader, Body: io.NopCloser(strings.NewReader(`{"vm_id":"vm-1"}`)), Request: r}, nil
		})}
		l, err := open(t, longpoll.Options{Client: client}).Dial(t.Context(), hello)
		require.NoError(t, err)
		defer l.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute-time.Millisecond)
		defer cancel()
		_, err = l.Receive(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 61, polls)
	})
}

// FuzzPage feeds a link what a controller, or what is in its place, answers.
func FuzzPage(f *testing.F) {
	f.Add([]byte(`{"vm_id":"vm-1","commands":[{"cursor":"e.1.0","attempt":1,"id":"c-1","type":"drain"}],"cursor":"e.1.0"}`))
	f.Add([]byte(`{"vm_id":"vm-1","commands":[],"cursor":"\r\nX: y"}`))
	f.Add([]byte(`{"vm_id":"vm-1","commands":[{}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var after string
		tr := open(t, longpoll.Options{Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			after = r.URL.Query().Get("after")
			return &http.Response{StatusCode: http.StatusOK, Header: jsonHeader, Body: io.NopCloser(strings.NewReader(string(body))), Request: r}, nil
		})}})
		l, err := tr.Dial(t.Context(), hello)
		if err != nil {
			return
		}
		defer l.Close()
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			got, err := l.Receive(ctx)
			cancel()
			if err != nil {
				break
			}
			for _, d := range got {
				if d.ID == "" {
					t.Fatal("a command without an ID")
				}
			}
		}
		if !transport.Cursor(after).Valid() {
			t.Fatalf("asked after %q", after)
		}
	})
}
