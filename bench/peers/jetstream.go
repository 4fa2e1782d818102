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
		"the reply is core NATS; the server is in the controller's process",
	Promises: promises{
		Durable: "fsync: the command before its PubAck; not what came of it",
		Order:   "per VM, until one is redelivered",
		Dedupe:  "what is published, by Nats-Msg-Id, for two minutes; not what is delivered",
		Resume:  "also after the server was killed",
	},
	most:  4000, // PubAcks that a publisher may wait for at once, by default
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
		l.pipes = append(l.pipes, jetstreamPipe(js, subject, in))
	}
	return l.startAgents(o, conn.ConnectedUrl())
}

// jetstreamPipe takes a command for acknowledged when it is on disk and its reply is there.
func jetstreamPipe(js jetstream.JetStream, subject string, in inbox) pipe {
	published := make(chan jetstream.PubAckFuture, maxWindow)
	return pipe{
		send: func() error {
			id, data, err := newData()
			if err != nil {
				return err
			}
			f, err := js.PublishAsync(subject, data, jetstream.WithMsgID(id))
			if err == nil {
				published <- f
			}
			return err
		},
		ack: func(ctx context.Context) error {
			if err := in.ack(ctx); err != nil {
				return err
			}
			f := <-published
			select {
			case <-f.Ok():
				return nil
			case err := <-f.Err():
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	}
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
