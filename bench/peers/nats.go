package main

import (
	"context"
	"errors"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

var natsPeer = peer{
	Name:     "nats",
	How:      "core NATS, a request with its reply to one inbox per VM; the server is in the controller's process",
	Promises: promises{Order: "of a publisher"},
	open:     openNATS,
	agent:    natsAgent,
}

// startNATS starts a server, and connects the controller to it.
func (l *loop) startNATS(o *server.Options) (*nats.Conn, error) {
	o.Host, o.Port, o.NoLog, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	s, err := server.NewServer(o)
	if err != nil {
		return nil, err
	}
	s.Start()
	l.clean.add(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(readyTime) {
		return nil, errors.New("the server does not start")
	}
	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		return nil, err
	}
	l.clean.add(conn.Close)
	return conn, nil
}

func openNATS(ctx context.Context, o *options, l *loop) error {
	conn, err := l.startNATS(&server.Options{})
	if err != nil {
		return err
	}
	for vm, in := range l.inboxes {
		reply := "acks." + vmName(vm)
		if _, err := conn.Subscribe(reply, func(m *nats.Msg) { in.hear(m.Data) }); err != nil {
			return err
		}
		l.pipe(func() error {
			_, data, err := newData()
			if err != nil {
				return err
			}
			return conn.PublishRequest("commands."+vmName(vm), reply, data)
		})
	}
	if err := conn.Flush(); err != nil { // the agents' hellos come over other connections
		return err
	}
	if err := l.startAgents(o, conn.ConnectedUrl()); err != nil {
		return err
	}
	return l.attended(ctx)
}

func natsAgent(url string, i int) error {
	conn, err := nats.Connect(url)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	_, err = conn.Subscribe("commands."+vmName(i), func(m *nats.Msg) {
		data, err := answerTo(m.Data)
		if err == nil {
			err = m.Respond(data)
		}
		if err != nil {
			failed <- err
		}
	})
	if err != nil {
		return err
	}
	if err := conn.Publish("acks."+vmName(i), hello); err != nil {
		return err
	}
	return <-failed
}
