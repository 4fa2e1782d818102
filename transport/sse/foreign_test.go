package sse_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/sse"
)

// behind is a client whose stream goes on, and whose POSTs are answered by post.
func behind(post func(r *http.Request) *http.Response) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPost {
			return post(r), nil
		}
		alive := &comments{done: r.Context().Done()}
		return &http.Response{StatusCode: http.StatusOK, Header: eventStream, Body: io.NopCloser(io.MultiReader(strings.NewReader(": miglink\n\n"), alive)), Request: r}, nil
	})}
}

// comments is a stream with a comment each five seconds.
type comments struct{ done <-chan struct{} }

func (c *comments) Read(b []byte) (int, error) {
	select {
	case <-time.After(5 * time.Second):
		return copy(b, ": keepalive\n\n"), nil
	case <-c.done:
		return 0, io.ErrUnexpectedEOF
	}
}

func proxy(r *http.Request, status int) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Server": {"box"}}, Body: http.NoBody, Request: r}
}

func taken(r *http.Request) *http.Response {
	body := `{"taken":0}`
	if strings.HasSuffix(r.URL.Path, "/ack") {
		body = `{"recorded":1}`
	}
	return &http.Response{StatusCode: http.StatusOK, Header: jsonHeader, Body: io.NopCloser(strings.NewReader(body)), Request: r}
}

// A stream outlives POSTs that something in between answers for a while.
func TestStreamOutlivesAnswersOfStrangers(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 204, 302, 403, 404, 413, 500, 503} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			until := began.Add(10 * time.Second)
			client := behind(func(r *http.Request) *http.Response {
				if time.Now().Before(until) && (status != 413 || strings.HasSuffix(r.URL.Path, "/events")) {
					return proxy(r, status)
				}
				return taken(r)
			})
			l, err := open(t, "http://localhost/", sse.Options{Client: client}).Dial(t.Context(), hello)
			require.NoError(t, err)
			defer l.Close()
			require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: "c-1", Stage: ack.Started}))
			time.Sleep(5 * time.Minute)
			require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: "c-1", Stage: ack.Succeeded}), "the link lives")
		})
	}
}

// A stream whose POSTs never reach the controller ends when that has to take the VM for dead, and names what answers.
func TestPostsThatNeverArrive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := open(t, "http://localhost/", sse.Options{Client: behind(func(r *http.Request) *http.Response { return proxy(r, 403) })}).Dial(t.Context(), hello)
		require.NoError(t, err)
		defer l.Close()
		began := time.Now()
		_, err = l.Receive(t.Context())
		require.ErrorAs(t, err, new(*transport.ForeignError))
		require.ErrorContains(t, err, "Server box")
		require.InDelta(t, 30*time.Second, time.Since(began), float64(3*time.Second))
		require.False(t, transport.Terminal(err))
	})
}
