package longpoll_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/longpoll"
)

// bring polls with acks, as a client in another language would.
func bring(t *testing.T, client *http.Client, query, acks string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/api/v1/vms/vm-1/commands?"+query, strings.NewReader(acks))
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, strings.TrimSpace(string(b))
}

func done(id string) string { return fmt.Sprintf(`{"command_id":%q,"status":"succeeded"}`, id) }

// A poll that brings acks is answered soon, with what became of them and with what is due.
func TestPollBringsAcks(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, c *controller.Controller, client *http.Client) {
		r := send(t, c)
		_, p, _ := poll(t, client, "wait=30s&instance=i-1")
		require.Len(t, p.Commands, 1)
		began := time.Now()
		status, body := bring(t, client, "wait=30s&instance=i-1&after="+p.Cursor, "["+done(r.ID())+"]")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, fmt.Sprintf(`{"vm_id":"vm-1","commands":[],"cursor":%q,"recorded":1}`, p.Cursor), body)
		require.Equal(t, 20*time.Millisecond, time.Since(began))
		e, err := r.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, ack.Succeeded, e.State.Stage)

		began = time.Now()
		_, body = bring(t, client, "wait=5ms&instance=i-1&after="+p.Cursor, "[]")
		require.NotContains(t, body, "recorded")
		require.Equal(t, 5*time.Millisecond, time.Since(began))

		next := send(t, c)
		began = time.Now()
		status, body = bring(t, client, "wait=30s&instance=i-1&after="+p.Cursor, "["+done(r.ID())+","+done("nobody")+","+`{"status":7}`+"]")
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, body, next.ID())
		require.Contains(t, body, `"recorded":3,"refused":[{"index":1,"command_id":"nobody","code":"unknown_command"`)
		require.Contains(t, body, `{"index":2,"command_id":"","code":"invalid"`)
		require.Equal(t, began, time.Now())

		for body, code := range map[string]string{"": "invalid", "[": "invalid", "[" + strings.Repeat("{},", 300) + "{}]": "too_large"} {
			status, answer := bring(t, client, "wait=30s", body)
			require.GreaterOrEqual(t, status, 400)
			require.Contains(t, answer, `"code":"`+code+`"`)
		}
	})
}

// What an agent that was shut out has done counts: its acks are recorded, and then its poll is refused.
func TestBroughtByWhoIsShutOut(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, c *controller.Controller, client *http.Client) {
		r := send(t, c)
		_, p, _ := poll(t, client, "instance=i-1")
		require.Len(t, p.Commands, 1)
		poll(t, client, "instance=i-2")
		poll(t, client, "instance=i-2") // now it was heard of
		status, body := bring(t, client, "instance=i-1", "["+done(r.ID())+"]")
		require.Equal(t, http.StatusConflict, status)
		require.Contains(t, body, `"code":"superseded"`)
		e, err := r.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, ack.Succeeded, e.State.Stage)
	})
}

// spy counts the requests of a client by method and last part of the path.
type spy struct {
	next http.RoundTripper
	mu   sync.Mutex
	seen map[string]int
}

func (s *spy) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.seen[r.Method+r.URL.Path[strings.LastIndex(r.URL.Path, "/"):]]++
	s.mu.Unlock()
	return s.next.RoundTrip(r)
}

func (s *spy) counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.seen)
}

// direct dials a link whose commands are taken by f, and has it say what they come to.
func direct(t *testing.T, client *http.Client, f func(l transport.Direct, page []transport.Delivery)) transport.Direct {
	t.Helper()
	link, err := open(t, longpoll.Options{Client: client}).Dial(t.Context(), hello)
	require.NoError(t, err)
	l := link.(transport.Direct)
	l.Deliver(func(page []transport.Delivery) { f(l, page) })
	return l
}

func ends(page []transport.Delivery) []ack.Ack {
	acks := make([]ack.Ack, len(page))
	for i := range page {
		acks[i] = ack.Ack{CommandID: page[i].ID, Stage: ack.Succeeded}
	}
	return acks
}

// What is posted while a page is taken goes with the next poll, and is answered with it; what is posted while a poll
// is held goes by itself.
func TestAcksRide(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, c *controller.Controller, client *http.Client) {
		s := &spy{next: client.Transport, seen: map[string]int{}}
		answers := make(chan error, 10)
		late := make(chan []ack.Ack, 1)
		first := send(t, c)
		l := direct(t, &http.Client{Transport: s}, func(l transport.Direct, page []transport.Delivery) {
			acks := ends(page)
			if page[0].ID != first.ID() {
				late <- acks
				return
			}
			l.Post([]ack.Ack{{CommandID: "nobody", Stage: ack.Succeeded}}, func(err error) { answers <- err })
			l.Post(acks, func(err error) { answers <- err })
		})
		require.ErrorIs(t, transport.AckError(<-answers, 0), transport.ErrUnknownCommand)
		require.NoError(t, <-answers)
		synctest.Wait()
		require.Equal(t, map[string]int{"GET/commands": 2, "POST/commands": 1}, s.counts())

		second := send(t, c)
		acks := <-late
		synctest.Wait() // the next poll is held
		l.Post(acks, func(err error) { answers <- err })
		require.NoError(t, <-answers)
		require.Equal(t, map[string]int{"GET/commands": 3, "POST/commands": 1, "POST/ack": 1}, s.counts())
		for _, r := range []*controller.Receipt{first, second} {
			e, err := r.Wait(t.Context())
			require.NoError(t, err)
			require.Equal(t, ack.Succeeded, e.State.Stage)
		}
		require.NoError(t, l.Close())
		l.Post(acks, func(err error) { answers <- err })
		require.ErrorIs(t, <-answers, transport.ErrClosed)
		_, err := l.Receive(t.Context())
		require.ErrorIs(t, err, transport.ErrClosed)
	})
}

// More than a poll has room for goes by itself.
func TestTooManyToRide(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, c *controller.Controller, client *http.Client) {
		s := &spy{next: client.Transport, seen: map[string]int{}}
		answers := make(chan error, 2)
		send(t, c)
		l := direct(t, &http.Client{Transport: s}, func(l transport.Direct, page []transport.Delivery) {
			many := make([]ack.Ack, ack.MaxBatch)
			for i := range many {
				many[i] = ends(page)[0]
			}
			for range 2 {
				l.Post(many, func(err error) { answers <- err })
			}
		})
		require.NoError(t, <-answers)
		require.NoError(t, <-answers)
		synctest.Wait()
		require.Equal(t, map[string]int{"GET/commands": 2, "POST/commands": 1, "POST/ack": 1}, s.counts())
		require.NoError(t, l.Close())
	})
}

// While one takes its time another polls on, and what it posts goes by itself.
func TestReadOn(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, c *controller.Controller, client *http.Client) {
		s := &spy{next: client.Transport, seen: map[string]int{}}
		first := send(t, c)
		busy := make(chan struct{})
		taken := make(chan string, 10)
		answers := make(chan error, 1)
		l := direct(t, &http.Client{Transport: s}, func(l transport.Direct, page []transport.Delivery) {
			taken <- page[0].ID
			if page[0].ID == first.ID() {
				l.ReadOn()
				<-busy
				l.Post(ends(page), func(err error) { answers <- err })
			}
		})
		require.Equal(t, first.ID(), <-taken)
		second := send(t, c)
		require.Equal(t, second.ID(), <-taken)
		synctest.Wait() // the next poll is under way
		close(busy)
		require.NoError(t, <-answers)
		require.Zero(t, s.counts()["POST/commands"])
		require.NoError(t, l.Close())
	})
}

// Where something in between does not let a poll pass that brings acks, they go by themselves, and the link lives. Where it
// knows no such request, there is no other from then on.
func TestAcksDoNotPass(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status int
		doc    string
		falls  bool
		once   bool
	}{
		{http.StatusMethodNotAllowed, "", true, true},
		{http.StatusForbidden, "", true, true},
		{http.StatusForbidden, `{"type":"about:blank","code":"forbidden"}`, true, true},
		{http.StatusNotFound, "", true, true},
		{http.StatusNotImplemented, "", true, true},
		{http.StatusBadGateway, "", true, false},
		{http.StatusRequestEntityTooLarge, "", true, false},
		{http.StatusOK, "", true, false},
		{http.StatusNoContent, "", true, false},
		{http.StatusForbidden, `{"type":"urn:miglink:error:forbidden","code":"forbidden"}`, false, false},
	} {
		inWorld(t, func(t *testing.T, c *controller.Controller, client *http.Client) {
			s := &spy{seen: map[string]int{}, next: roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/commands") {
					w := httptest.NewRecorder()
					if test.doc != "" {
						w.Header().Set("Content-Type", "application/problem+json")
					}
					w.WriteHeader(test.status)
					w.Body.WriteString(test.doc)
					return w.Result(), nil
				}
				return client.Transport.RoundTrip(r)
			})}
			l := direct(t, &http.Client{Transport: s}, func(l transport.Direct, page []transport.Delivery) {
				l.Post(ends(page), func(error) {})
				l.Post([]ack.Ack{{CommandID: "nobody", Stage: ack.Succeeded}}, func(error) {})
			})
			first := send(t, c)
			if !test.falls {
				_, err := l.Receive(t.Context())
				require.Error(t, err)
				require.Zero(t, s.counts()["POST/ack"])
				require.NoError(t, l.Close())
				return
			}
			for r, n := first, 0; n < 3; r, n = send(t, c), n+1 {
				e, err := r.Wait(t.Context())
				require.NoError(t, err)
				require.Equal(t, ack.Succeeded, e.State.Stage)
			}
			require.Equal(t, test.once, s.counts()["POST/commands"] == 1)
			require.NoError(t, l.Close())
		})
	}
}

// An answer that does not say that the acks are recorded is none of the controller's: they go by themselves, and nothing
// that it holds is taken.
func TestAnswerWithoutRecorded(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{}`, `[`, `{"vm_id":"vm-1"}`, `{"vm_id":"vm-1","recorded":2}`, `{"vm_id":"vm-2","recorded":1}`, `{"vm_id":"vm-1","recorded":1,"refused":[7]}`,
		`{"vm_id":"vm-1","recorded":1,"refused":[` + strings.Repeat(`{},`, ack.MaxBatch) + `{}]}`,
		`{"vm_id":"vm-1","commands":[{"id":"c-9","type":"drain","attempt":1}],"cursor":"e.1.0"}`,
	} {
		inWorld(t, func(t *testing.T, c *controller.Controller, client *http.Client) {
			r := send(t, c)
			answers := make(chan error, 1)
			l := direct(t, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/commands") {
					return &http.Response{StatusCode: http.StatusOK, Header: jsonHeader, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
				}
				return client.Transport.RoundTrip(r)
			})}, func(l transport.Direct, page []transport.Delivery) {
				require.Equal(t, r.ID(), page[0].ID)
				l.Post(ends(page), func(err error) { answers <- err })
			})
			require.NoError(t, <-answers, body)
			e, err := r.Wait(t.Context())
			require.NoError(t, err)
			require.Equal(t, ack.Succeeded, e.State.Stage)
			require.NoError(t, l.Close())
		})
	}
}

// What the controller cannot mean ends the link, and the acks are told again over another.
func TestRefusalOfWhatWasNotSaid(t *testing.T) {
	t.Parallel()
	for body, says := range map[string]string{
		`{"vm_id":"vm-1","recorded":1,"refused":[{"index":1,"code":"invalid"}]}`: "refused ack 1 of 1",
	} {
		inWorld(t, func(t *testing.T, c *controller.Controller, client *http.Client) {
			send(t, c)
			answers := make(chan error, 1)
			l := direct(t, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPost {
					return &http.Response{StatusCode: http.StatusOK, Header: jsonHeader, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
				}
				return client.Transport.RoundTrip(r)
			})}, func(l transport.Direct, page []transport.Delivery) {
				l.Post(ends(page), func(err error) { answers <- err })
			})
			require.ErrorContains(t, <-answers, says, body)
			_, err := l.Receive(t.Context())
			require.ErrorContains(t, err, says, body)
			l.Post([]ack.Ack{{CommandID: "c-9", Stage: ack.Succeeded}}, func(err error) { answers <- err })
			<-answers // it goes by itself, and does not wait for a poll that nobody sends
			require.NoError(t, l.Close())
		})
	}
}
