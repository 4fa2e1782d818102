package main

import (
	"context"
	"net/http"

	"github.com/gorilla/websocket"
)

// gorillaPeer is the least that could do it: what a controller does today.
var gorillaPeer = peer{
	Name:     "gorilla",
	How:      "WriteJSON and ReadJSON, each way",
	Promises: promises{Order: "of a connection"},
	open:     openGorilla,
	agent:    gorillaAgent,
}

func openGorilla(ctx context.Context, o *options, l *loop) error {
	accepted := make(chan *websocket.Conn)
	addr, err := l.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var u websocket.Upgrader
		if conn, err := u.Upgrade(w, r, nil); err == nil {
			accepted <- conn
		}
	}))
	if err != nil {
		return err
	}
	if err := l.startAgents(o, "ws://"+addr); err != nil {
		return err
	}
	for range o.VMs {
		select {
		case conn := <-accepted:
			l.clean.add(func() { conn.Close() })
			l.pipes = append(l.pipes, pipe{
				send: func() error { return conn.WriteJSON(newCommand()) },
				ack: func(context.Context) error { // an agent that ends closes the connection
					var a answer
					if err := conn.ReadJSON(&a); err != nil {
						return err
					}
					return a.check()
				},
			})
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func gorillaAgent(url string, _ int) error {
	conn, resp, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	for {
		var c message
		if err := conn.ReadJSON(&c); err != nil {
			return err
		}
		if err := conn.WriteJSON(answer{c.ID, "processed"}); err != nil {
			return err
		}
	}
}
