package ws_test

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// TestTooManyControls has a peer send WebSocket's own pings and pongs, which are no frames of the protocol: a few are
// answered, and too many end the link, before the hello, between the parts of a message, and later.
func TestTooManyControls(t *testing.T) {
	t.Parallel()
	begin := map[string]func(conn *websocket.Conn) error{
		"before the hello": func(*websocket.Conn) error { return nil },
		"within a message": func(conn *websocket.Conn) error {
			w, err := conn.NextWriter(websocket.TextMessage)
			if err == nil {
				_, err = io.WriteString(w, strings.Repeat(" ", 5000)) // more than the buffer: a part is sent
			}
			return err
		},
		"later": func(conn *websocket.Conn) error {
			return conn.WriteMessage(websocket.TextMessage, []byte(`{"n":1,"hello":{"version":1,"vm_id":"vm-1"}}`))
		},
	}
	for when, begin := range begin {
		for kind, name := range map[int]string{websocket.PingMessage: "pings", websocket.PongMessage: "pongs"} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				_, s := serve(t, time.Hour)
				conn, _, err := byHand(t, s, nil, "miglink.v1")
				require.NoError(t, err)
				require.NoError(t, begin(conn))
				var answered atomic.Int32
				conn.SetPongHandler(func(string) error {
					answered.Add(1)
					return nil
				})
				ended := make(chan error, 1)
				go func() {
					var err error
					for err == nil {
						_, _, err = conn.ReadMessage()
					}
					ended <- err
				}()
				const most = 200
				for range most + 1 {
					require.NoError(t, conn.WriteControl(kind, nil, time.Now().Add(time.Minute)))
				}
				var closed *websocket.CloseError
				require.ErrorAs(t, <-ended, &closed)
				require.Equal(t, websocket.ClosePolicyViolation, closed.Code)
				require.Equal(t, "rate_limited", closed.Text)
				if kind == websocket.PingMessage {
					require.EqualValues(t, most, answered.Load())
				}
			})
		}
	}
}
