package hostile

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
)

// What a command takes to a VM that means well, alone and beside one that sends without end and dials again at once
// each time it is turned away.
func BenchmarkBesideAFlood(b *testing.B) {
	b.Run("alone", func(b *testing.B) {
		w := newWorld(b)
		for b.Loop() {
			succeeds(b, send(b, w.c, "good"))
		}
	})
	b.Run("flood", func(b *testing.B) {
		w := newWorld(b)
		over := make(chan struct{})
		var flooding sync.WaitGroup
		flooding.Go(func() { w.flood(over) })
		for b.Loop() {
			succeeds(b, send(b, w.c, "good"))
		}
		close(over)
		flooding.Wait()
	})
}

// flood sends acks that end nothing, over one link after the other.
func (w *world) flood(over <-chan struct{}) {
	d := websocket.Dialer{Subprotocols: []string{"miglink.v1"}, HandshakeTimeout: patience}
	for {
		select {
		case <-over:
			return
		default:
		}
		conn, resp, err := d.Dial("ws://"+w.addr+"/api/v1/vms/bad/commands/ws", http.Header{"Authorization": {"Bearer bad"}})
		if err != nil {
			if resp == nil {
				w.t.Error(err)
				return
			}
			continue
		}
		err = conn.WriteMessage(websocket.TextMessage, []byte(`{"n":1,"hello":{"version":1,"instance":"bad"}}`))
		for n := 2; err == nil; n++ {
			err = conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"n":%d,"acks":[{"command_id":"nobody","status":"succeeded"}]}`, n))
			select {
			case <-over:
				conn.Close()
			default:
			}
		}
		conn.Close()
	}
}
