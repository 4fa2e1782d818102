package sse_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/web"
)

// A sign of life goes up soon after nothing else does, and then as often as was promised; not while acks say as much.
func TestSignsOfLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		began := time.Now()
		var mu sync.Mutex
		var signs []time.Duration
		h := http.StripPrefix("/api/v1", web.Handler(c, web.Options{}))
		client, stop := memnet.Serve(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/events") {
				mu.Lock()
				signs = append(signs, time.Since(began))
				mu.Unlock()
			}
			h.ServeHTTP(w, r)
		})})
		defer stop()
		l, err := open(t, "http://localhost/", sse.Options{Client: client}).Dial(t.Context(), hello)
		require.NoError(t, err)
		defer l.Close()
		at := func(d time.Duration) { time.Sleep(time.Until(began.Add(d))) }
		ackAt := func(d time.Duration) {
			at(d)
			r := send(t, c, "vm-1", 1)
			_, err := l.Receive(t.Context())
			require.NoError(t, err)
			require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
		}
		ackAt(20 * time.Second) // long before the sign at 32 s
		for s := 46 * time.Second; s < 70*time.Second; s += time.Second {
			ackAt(s)
		}
		at(100 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, []time.Duration{2 * time.Second, 17 * time.Second, 32 * time.Second, 71 * time.Second, 86 * time.Second}, signs)
	})
}
