package bench

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// bareWebSocket is gorilla's WriteJSON and ReadJSON.
func bareWebSocket(ctx context.Context, o *Options, n int) (*loop, error) {
	l := &loop{}
	accepted := make(chan *websocket.Conn)
	url, err := serveHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var u websocket.Upgrader
		if conn, err := u.Upgrade(w, r, nil); err == nil {
			accepted <- conn
		}
	}), anyPort, &l.clean)
	if err != nil {
		return l, err
	}
	began, err := l.startBare(o, "bare-ws", url, n)
	if err != nil {
		return l, err
	}
	pipes := make([]pipe, 0, n)
	for range n {
		select {
		case conn := <-accepted:
			l.clean.add(func() { conn.Close() })
			p := pipe{
				send: func() error { return conn.WriteJSON(probe) },
				ack:  func() error { var a answer; return conn.ReadJSON(&a) },
			}
			if err := p.send(); err != nil {
				return l, err
			}
			pipes = append(pipes, p)
		case <-ctx.Done():
			return l, ctx.Err()
		}
	}
	for _, p := range pipes {
		if err := p.ack(); err != nil {
			return l, err
		}
	}
	l.storm = time.Since(began)
	l.roundTrip = func(context.Context) error {
		if err := pipes[0].send(); err != nil {
			return err
		}
		return pipes[0].ack()
	}
	l.offer = offerPipes(pipes)
	l.flood = func(ctx context.Context, window int, d time.Duration) (int, error) {
		return floodPipes(ctx, pipes, window, d)
	}
	return l, nil
}

func bareWebSocketAgent(url string, _ int) error {
	conn, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http"), nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	for {
		var m message
		if err := conn.ReadJSON(&m); err != nil {
			return err
		}
		if err := conn.WriteJSON(answer{m.ID, "processed"}); err != nil {
			return err
		}
	}
}
