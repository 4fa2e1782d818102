package ws

import (
	"time"

	"github.com/gorilla/websocket"

	"github.com/miglink/miglink/transport"
)

// WebSocket has pings and pongs of its own, which are no messages: package framed, which counts frames that say nothing,
// does not see them. No agent of ours sends any, and what is in between does so every few seconds.
const (
	maxControls  = 200 // in controlsTime
	controlsTime = 10 * time.Second
	pongTimeout  = time.Second
)

var errControls = transport.Errorf(transport.CodeRateLimited, "more than %d WebSocket pings and pongs within %s", maxControls, controlsTime)

// controls counts the control frames of a peer. Only the goroutine that reads touches it.
type controls struct {
	n     int
	since time.Time
}

// count returns errControls where there are too many.
func (c *controls) count(now time.Time) error {
	if now.Sub(c.since) >= controlsTime {
		c.n, c.since = 0, now
	}
	if c.n++; c.n > maxControls {
		return errControls
	}
	return nil
}

// countControls has pings answered, and counted as pongs are. An error of a handler is one of reading.
func (p *pipe) countControls() {
	p.conn.SetPingHandler(func(data string) error {
		now := time.Now()
		if err := p.controls.count(now); err != nil {
			return err
		}
		// Where the answer cannot be sent, the next message cannot either, and that ends the link.
		_ = p.conn.WriteControl(websocket.PongMessage, []byte(data), now.Add(pongTimeout))
		return nil
	})
	p.conn.SetPongHandler(func(string) error { return p.controls.count(time.Now()) })
}
