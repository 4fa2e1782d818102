package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/uuid"
	broker "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

var (
	mochiPeer = peer{
		Name:     "mqtt",
		How:      "MQTT 3.1.1 at QoS 1 each way, clean sessions, paho; the broker, mochi, is in the controller's process, and all in its memory",
		Promises: promises{Order: "of a publisher and topic"},
		most:     8192, // what mochi keeps for a client, before it drops
		open:     openMochi,
		agent:    mqttAgent,
	}
	mqttPeer = peer{
		Name:     externalMQTT,
		How:      "the same over the broker of --mqtt, a process of its own whose CPU time is not counted",
		Promises: promises{Order: "of a publisher and topic"},
		most:     1000, // what the usual broker, Eclipse's, keeps for a client by default, before it drops
		open: func(ctx context.Context, o *options, l *loop) error {
			return openMQTT(ctx, o, l, o.MQTT)
		},
		agent: mqttAgent,
	}
)

const externalMQTT = "mqtt-broker"

// closeTime is how long a broker may take to close.
const closeTime = 2 * time.Second

func openMochi(ctx context.Context, o *options, l *loop) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	if err != nil {
		return err
	}
	b := broker.New(&broker.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	l.clean.add(func() {
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			b.Close()
		}()
		select { // mochi 2.7.9 may wait for ever, where clients leave while it closes
		case <-closed:
		case <-time.After(closeTime):
		}
		listener.Close()
	})
	if err := b.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	if err := b.AddListener(listeners.NewNet("loopback", listener)); err != nil {
		return err
	}
	if err := b.Serve(); err != nil {
		return err
	}
	return openMQTT(ctx, o, l, "tcp://"+listener.Addr().String())
}

// atLeastOnce is the quality of service.
const atLeastOnce = 1

func openMQTT(ctx context.Context, o *options, l *loop, url string) error {
	prefix := "miglink-peers/" + uuid.NewString() // others may use the broker
	c, err := dialMQTT(url, prefix+"/controller", o.fail)
	if err != nil {
		return err
	}
	l.clean.add(func() { c.Disconnect(0) })
	for vm, in := range l.inboxes {
		t := c.Subscribe(prefix+"/acks/"+vmName(vm), atLeastOnce, func(_ mqtt.Client, m mqtt.Message) { in.hear(m.Payload()) })
		if t.Wait(); t.Error() != nil {
			return t.Error()
		}
		l.pipe(func() error {
			_, data, err := newData()
			if err != nil {
				return err
			}
			return c.Publish(prefix+"/commands/"+vmName(vm), atLeastOnce, false, data).Error() // the agent's ack says that it arrived
		})
	}
	if err := l.startAgents(o, url+"#"+prefix); err != nil {
		return err
	}
	return l.attended(ctx)
}

func dialMQTT(url, id string, lost func(error)) (mqtt.Client, error) {
	options := mqtt.NewClientOptions().AddBroker(url).SetClientID(id).SetAutoReconnect(false)
	options.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost(fmt.Errorf("the broker's connection is lost: %w", err)) })
	c := mqtt.NewClient(options)
	t := c.Connect()
	t.Wait()
	return c, t.Error()
}

func mqttAgent(at string, i int) error {
	url, prefix, _ := strings.Cut(at, "#")
	failed := make(chan error, 1)
	c, err := dialMQTT(url, prefix+"/"+vmName(i), func(err error) { failed <- err })
	if err != nil {
		return err
	}
	defer c.Disconnect(0)
	ack := func(data []byte) error {
		return c.Publish(prefix+"/acks/"+vmName(i), atLeastOnce, false, data).Error()
	}
	t := c.Subscribe(prefix+"/commands/"+vmName(i), atLeastOnce, func(_ mqtt.Client, m mqtt.Message) {
		data, err := answerTo(m.Payload())
		if err == nil {
			err = ack(data)
		}
		if err != nil {
			failed <- err
		}
	})
	if t.Wait(); t.Error() != nil {
		return t.Error()
	}
	if err := ack(hello); err != nil {
		return err
	}
	return <-failed
}
