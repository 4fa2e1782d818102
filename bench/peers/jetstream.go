package main

import (
	"context"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var jetstreamPeer = peer{
	Name: "jetstream",
	How: "a stream in a file and a durable consumer per VM with explicit acks, both with SyncAlways (sync_interval: always); " +
		"the reply is core NATS; the server is in the controller's process; each VM's commands are published one by one, " +
		"since more at once would only wait for the disk",
	Promises: promises{
		Durable: "fsync: the command before Publish returns; not what came of it",
		Order:   "per VM, until one is redelivered",
		Dedupe:  "what is published, by Nats-Msg-Id, for two minutes; not what is delivered",
		Resume:  "also after the server was killed",
	},
	open:  openJetStream,
	agent: jetstreamAgent,
}

const jetstreamName = "COMMANDS"

func openJetStream(ctx context.Context, o *options, l *loop) error {
	dir, err := l.dir()
	if err != nil {
		return err
	}
	conn, err := l.startNATS(&server.Options{JetStream: true, StoreDir: dir, SyncAlways: true})
	if err != nil {
		return err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: jetstreamName, Subjects: []string{"commands.*"}, Storage: jetstream.FileStorage,
	})
	if err != nil {
		return err
	}
	for vm, in := range l.inboxes {
		subject := "commands." + vmName(vm)
		_, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: vmName(vm), FilterSubject: subject, AckPolicy: jetstream.AckExplicitPolicy,
		})
		if err != nil {
			return err
		}
		if _, err := conn.Subscribe("acks."+vmName(vm), func(m *nats.Msg) { in.hear(m.Data) }); err != nil {
			return err
		}
		l.pipe(func() error {
			id, data, err := newData()
			if err != nil {
				return err
			}
			_, err = js.Publish(ctx, subject, data, jetstream.WithMsgID(id))
			return err
		})
	}
	return l.startAgents(o, conn.ConnectedUrl())
}

func jetstreamAgent(url string, i int) error {
	ctx := context.Background()
	conn, err := nats.Connect(url)
	if err != nil {
		return err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	consumer, err := js.Consumer(ctx, jetstreamName, vmName(i))
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		data, err := answerTo(m.Data())
		if err == nil {
			err = conn.Publish("acks."+vmName(i), data)
		}
		if err == nil {
			err = m.Ack()
		}
		if err != nil {
			failed <- err
		}
	})
	if err != nil {
		return err
	}
	defer consuming.Stop()
	return <-failed
}
