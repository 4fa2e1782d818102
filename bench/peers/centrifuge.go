package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/centrifugal/centrifuge"
	client "github.com/centrifugal/centrifuge-go"
)

var centrifugePeer = peer{
	Name: "centrifuge",
	How:  "published to the VM's channel, with history in memory; the ack is an RPC; frames are Protobuf, over WebSocket",
	Promises: promises{
		Order:  "of a channel",
		Resume: "from the history, while the controller lives",
	},
	open:  openCentrifuge,
	agent: centrifugeAgent,
}

// historyTime is how long a VM may be away and still recover what it missed.
const historyTime = time.Minute

func openCentrifuge(ctx context.Context, o *options, l *loop) error {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return err
	}
	node.OnConnecting(func(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: string(e.Data)}}, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		vm, err := strconv.Atoi(c.UserID())
		if err != nil || vm >= o.VMs {
			c.Disconnect(centrifuge.DisconnectBadRequest)
			return
		}
		c.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{Options: centrifuge.SubscribeOptions{EnableRecovery: true}}, nil)
		})
		c.OnRPC(func(e centrifuge.RPCEvent, done centrifuge.RPCCallback) {
			l.inboxes[vm].hear(e.Data)
			done(centrifuge.RPCReply{}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return err
	}
	l.clean.add(func() { _ = node.Shutdown(context.Background()) }) // its agents have gone
	// By default a write that takes a second ends the connection, on either side: too soon on a machine that is
	// kept busy on purpose.
	addr, err := l.serve(centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{WriteTimeout: slack}))
	if err != nil {
		return err
	}
	for vm := range o.VMs {
		l.pipe(func() error {
			_, data, err := newData()
			if err != nil {
				return err
			}
			_, err = node.Publish(vmName(vm), data, centrifuge.WithHistory(maxWindow, historyTime))
			return err
		})
	}
	if err := l.startAgents(o, "ws://"+addr); err != nil {
		return err
	}
	return l.attended(ctx)
}

func centrifugeAgent(url string, i int) error {
	ctx := context.Background()
	c := client.NewProtobufClient(url, client.Config{Data: []byte(strconv.Itoa(i)), ReadTimeout: slack, WriteTimeout: slack})
	s, err := c.NewSubscription(vmName(i), client.SubscriptionConfig{Recoverable: true})
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default: // another was first
		}
	}
	c.OnConnecting(func(e client.ConnectingEvent) {
		if e.Code != 0 { // it is not the first time
			fail(fmt.Errorf("disconnected: %d, %s", e.Code, e.Reason))
		}
	})
	// An RPC that a handler waits for would wait for ever: the handler keeps its answer from being read.
	ack := func(data []byte) {
		if _, err := c.RPC(ctx, "ack", data); err != nil {
			fail(fmt.Errorf("ack: %w", err))
		}
	}
	s.OnSubscribed(func(client.SubscribedEvent) { go ack(hello) })
	s.OnPublication(func(e client.PublicationEvent) {
		data, err := answerTo(e.Data)
		if err != nil {
			fail(err)
			return
		}
		go ack(data)
	})
	if err := c.Connect(); err != nil {
		return err
	}
	if err := s.Subscribe(); err != nil {
		return err
	}
	return <-failed
}
