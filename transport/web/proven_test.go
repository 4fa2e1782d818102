package web_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// An agent behind something that lets a WebSocket open, and passes nothing over it, goes to the next way.
func TestWebSocketThatPassesNothing(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	h := http.StripPrefix("/api/v1", web.Handler(c, web.Options{}))
	u := websocket.Upgrader{Subprotocols: []string{"miglink.v1.greeted"}}
	var opened atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/ws") {
			h.ServeHTTP(w, r)
			return
		}
		conn, err := u.Upgrade(w, r, http.Header{"Miglink-Keepalive": {"0.02"}})
		if err != nil {
			return
		}
		opened.Add(1)
		defer conn.Close()
		for err == nil {
			_, _, err = conn.NextReader() // and no word comes back
		}
	}))
	defer s.Close()
	defer c.Close()
	first, err := ws.New(s.URL, ws.Options{})
	require.NoError(t, err)
	second, err := longpoll.New(s.URL, longpoll.Options{})
	require.NoError(t, err)
	f := transport.NewFallback(transport.FallbackOptions{Stable: time.Nanosecond},
		transport.Way{Name: "ws", Transport: first}, transport.Way{Name: "longpoll", Transport: second})
	a, err := agent.New(f, agent.Options{VM: "vm-1", BackoffInitial: time.Millisecond, BackoffMax: time.Millisecond})
	require.NoError(t, err)
	cmd, err := command.New(command.Drain{}, command.Options{})
	require.NoError(t, err)
	r, err := c.Send(t.Context(), "vm-1", cmd)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- a.Run(ctx) }()
	e, err := r.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, ack.Rejected, e.State.Stage, "it has no handlers")
	require.GreaterOrEqual(t, opened.Load(), int32(2))
	stop()
	require.NoError(t, <-ran)
}

// Each client half knows whether something has come since its welcome.
func TestProven(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	s := httptest.NewServer(http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
	defer s.Close()
	defer c.Close()
	byWS, err := ws.New(s.URL, ws.Options{})
	require.NoError(t, err)
	bySSE, err := sse.New(s.URL, sse.Options{})
	require.NoError(t, err)
	byPoll, err := longpoll.New(s.URL, longpoll.Options{})
	require.NoError(t, err)
	for vm, tr := range map[string]transport.Transport{"ws": byWS, "sse": bySSE, "longpoll": byPoll, "split": transport.Split(byWS, byWS)} {
		l, err := tr.Dial(t.Context(), transport.Hello{VM: vm, Instance: "i"})
		require.NoError(t, err)
		require.False(t, l.(transport.Prover).Proven(), vm)
		cmd, err := command.New(command.Drain{}, command.Options{})
		require.NoError(t, err)
		_, err = c.Send(t.Context(), vm, cmd)
		require.NoError(t, err)
		page, err := l.Receive(t.Context())
		require.NoError(t, err)
		require.Len(t, page, 1)
		require.True(t, l.(transport.Prover).Proven(), vm)
		require.NoError(t, l.Close())
	}
}
