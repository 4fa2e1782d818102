package uplink_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/uplink"
)

// strangers are answers of what may be between an agent and its controller.
var strangers = map[string]func(r *http.Request) *http.Response{
	"a page":          func(r *http.Request) *http.Response { return foreign(r, 200, "text/html", "<html>") },
	"a portal's JSON": func(r *http.Request) *http.Response { return foreign(r, 200, "application/json", `{"status":"ok"}`) },
	"a list":          func(r *http.Request) *http.Response { return foreign(r, 200, "application/json", `[]`) },
	"another number": func(r *http.Request) *http.Response {
		return foreign(r, 200, "application/json", `{"recorded":7,"taken":7}`)
	},
	"a receipt as text": func(r *http.Request) *http.Response { return foreign(r, 200, "text/plain", `{"recorded":1,"taken":1}`) },
	"nothing":           func(r *http.Request) *http.Response { return foreign(r, 200, "", "") },
	"created": func(r *http.Request) *http.Response {
		return foreign(r, 201, "application/json", `{"recorded":1,"taken":1}`)
	},
	"no content":   func(r *http.Request) *http.Response { return foreign(r, 204, "", "") },
	"a redirect":   func(r *http.Request) *http.Response { return foreign(r, 302, "", "") },
	"unauthorized": func(r *http.Request) *http.Response { return foreign(r, 401, "text/html", "") },
	"forbidden":    func(r *http.Request) *http.Response { return foreign(r, 403, "text/html", "") },
	"a problem of others": func(r *http.Request) *http.Response {
		return foreign(r, 403, "application/problem+json", `{"type":"about:blank","code":"revoked"}`)
	},
	"the proxy's password": func(r *http.Request) *http.Response { return foreign(r, 407, "", "") },
	"too many requests":    func(r *http.Request) *http.Response { return foreign(r, 429, "", "") },
	"bad gateway":          func(r *http.Request) *http.Response { return foreign(r, 502, "text/html", "") },
	"unavailable":          func(r *http.Request) *http.Response { return foreign(r, 503, "", "") },
}

func foreign(r *http.Request, status int, kind, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), Request: r,
		Header: http.Header{"Content-Type": {kind}, "Server": {"box"}}, Body: io.NopCloser(strings.NewReader(body)),
	}
}

// controllerOf answers a POST as a controller does that takes everything.
func controllerOf(r *http.Request) (*http.Response, []json.RawMessage) {
	var all []json.RawMessage
	_ = json.NewDecoder(r.Body).Decode(&all)
	if strings.HasSuffix(r.URL.Path, "/ack") {
		return recorded(r, len(all)), all
	}
	return answer(r, http.StatusOK, fmt.Sprintf(`{"taken":%d}`, len(all))), all
}

// What something in between answers is no answer to a POST: acks and events are sent again until the controller has them,
// and one line says who was in the way. A dial, and a sign of life, fail with it.
func TestStrangersAnswer(t *testing.T) {
	t.Parallel()
	for name, stranger := range strangers {
		synctest.Test(t, func(t *testing.T) {
			left := 0
			var log bytes.Buffer
			tr, err := uplink.New("http://localhost", uplink.Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Client: &http.Client{
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
				Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					if left--; left >= 0 {
						return stranger(r), nil
					}
					resp, _ := controllerOf(r)
					return resp, nil
				}),
			}})
			require.NoError(t, err)
			left = 1
			_, err = tr.Dial(t.Context(), hello)
			require.ErrorAs(t, err, new(*transport.ForeignError), name)
			l, err := tr.Dial(t.Context(), hello)
			require.NoError(t, err, name)
			defer l.Close()
			left = 1
			require.ErrorAs(t, l.(*uplink.Link).SignOfLife(t.Context(), nil), new(*transport.ForeignError), name)
			require.Empty(t, log.String())

			left = 3
			require.NoError(t, l.Ack(t.Context(), received("c-1")), name)
			require.Equal(t, -1, left, name)
			require.Contains(t, log.String(), "a POST was not answered by the controller")
			require.Contains(t, log.String(), "Server box")
			left = 3
			require.NoError(t, l.Report(t.Context(), event.Event{Type: "vm_started"}), name)
			require.Equal(t, -1, left, name)

			left = 1000 // whoever does not wait so long is told so, and who was in the way
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err = l.Report(ctx, event.Event{Type: "vm_started"})
			require.ErrorIs(t, err, context.DeadlineExceeded, name)
			require.ErrorContains(t, err, "Server box", name)
		})
	}
}

// A stranger may have a POST wait for minutes, and no longer. The end of the link ends the wait.
func TestStrangersPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		until := began.Add(time.Minute)
		l := attach(t, uplink.Options{Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if time.Now().Before(until) {
				resp := foreign(r, 503, "", "")
				resp.Header.Set("Retry-After", "93600")
				return resp, nil
			}
			resp, _ := controllerOf(r)
			return resp, nil
		})}})
		require.NoError(t, l.Ack(t.Context(), received("c-1")))
		require.Equal(t, transport.MaxForeignRetryAfter, time.Since(began))
		until = time.Now().Add(time.Minute)
		ended := make(chan error, 1)
		go func() { ended <- l.Ack(t.Context(), received("c-1")) }()
		synctest.Wait()
		require.NoError(t, l.Close())
		require.ErrorIs(t, <-ended, transport.ErrClosed)
	})
}

// limited is a path that lets no body pass that is larger than most, to a controller that notes what comes.
func limited(most int64, seen *[]json.RawMessage) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.ContentLength > most {
			return foreign(r, http.StatusRequestEntityTooLarge, "text/html", ""), nil
		}
		resp, all := controllerOf(r)
		*seen = append(*seen, all...)
		return resp, nil
	})}
}

// Acks that something in between takes for too large go in smaller bodies, whole and in order; one that is too large by
// itself goes without its result, and says so.
func TestTooLargeForWhatIsBetween(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []json.RawMessage
		l := attach(t, uplink.Options{Client: limited(1000, &seen)})
		defer l.Close()
		result := func(n int) json.RawMessage { return json.RawMessage(`"` + strings.Repeat("x", n) + `"`) }
		acks := make([]ack.Ack, 64)
		for i := range acks {
			acks[i] = ack.Ack{CommandID: fmt.Sprintf("c-%d", i), Stage: ack.Succeeded, Result: result(100)}
		}
		acks[40].Result, acks[40].Reason = result(5000), strings.Repeat("é", 1000)
		began := time.Now()
		require.NoError(t, l.Ack(t.Context(), acks...))
		require.Equal(t, began, time.Now(), "no pause helps")
		require.Len(t, seen, len(acks))
		for i := range seen {
			var got ack.Ack
			require.NoError(t, json.Unmarshal(seen[i], &got))
			require.NoError(t, got.Validate())
			require.Equal(t, acks[i].CommandID, got.CommandID)
			require.Equal(t, ack.Succeeded, got.Stage)
			if i != 40 {
				require.Equal(t, acks[i].Result, got.Result)
				continue
			}
			require.Nil(t, got.Result)
			require.True(t, strings.HasPrefix(got.Reason, "ééé"), got.Reason)
			require.Contains(t, got.Reason, "a result of 5002 bytes")
			require.Contains(t, got.Reason, "413 Request Entity Too Large (Server box")
		}

		seen = nil
		events := make([]event.Event, 50)
		for i := range events {
			events[i] = event.Event{Type: fmt.Sprintf("e-%d", i)}
		}
		require.NoError(t, l.Report(t.Context(), events...))
		require.Len(t, seen, len(events))
		require.Contains(t, string(seen[49]), "e-49")
		err := l.Report(t.Context(), event.Event{Type: "large", Metadata: json.RawMessage(`{"x":"` + strings.Repeat("x", 2000) + `"}`)})
		require.ErrorIs(t, err, transport.ErrTooLarge)
		require.True(t, transport.Refused(err))
	})
}

// Where not even the smallest ack passes the link ends, since it is of no use.
func TestNothingPasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := attach(t, uplink.Options{Client: limited(1, new([]json.RawMessage))})
		defer l.Close()
		err := l.Ack(t.Context(), received("c-1"), received("c-2"))
		require.ErrorAs(t, err, new(*transport.ForeignError))
		require.False(t, transport.Refused(err))
	})
}

// A batch of which the controller refuses some is answered one by one, also where it went in parts.
func TestRefusalsInParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := attach(t, uplink.Options{Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			var acks []ack.Ack
			require.NoError(t, json.NewDecoder(r.Body).Decode(&acks))
			switch {
			case len(acks) > 1:
				return foreign(r, 413, "", ""), nil
			case acks[0].CommandID == "bad":
				return answer(r, 404, `{"type":"urn:miglink:error:unknown_command","code":"unknown_command"}`), nil
			}
			return recorded(r, 1), nil
		})}})
		defer l.Close()
		err := l.Ack(t.Context(), received("1"), received("2"), received("bad"), received("4"))
		for i := range 4 {
			require.Equal(t, i == 2, transport.AckError(err, i) != nil, i)
		}
		require.ErrorIs(t, err, transport.ErrUnknownCommand)
	})
}
