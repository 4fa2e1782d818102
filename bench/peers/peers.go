package main

import (
	"context"
	"fmt"
	"time"
)

// peer is one of what could be picked.
type peer struct {
	Name     string   `json:"name"`
	How      string   `json:"how"` // a command and its ack go
	Promises promises `json:"promises"`

	most  int // commands that may be under way to all VMs together; zero: any number
	open  func(ctx context.Context, o *options, l *loop) error
	agent func(url string, i int) error // runs one, until it fails
}

// promises are what holds as it was measured here, each in a few words; an empty one is not made.
type promises struct {
	Durable string `json:"durable,omitempty"` // on disk before success
	Order   string `json:"order,omitempty"`
	Dedupe  string `json:"dedupe,omitempty"`
	Stages  string `json:"stages,omitempty"` // of an ack: received, started, …
	Resume  string `json:"resume,omitempty"` // of what was missed, after a connection was lost
}

// peers are all of them; the first is what the others are compared to.
var peers = []*peer{
	&gorillaPeer, &miglinkMemory, &miglinkBolt, &natsPeer, &jetstreamPeer,
	&centrifugePeer, &opampPeer, &mochiPeer, &mqttPeer,
}

// readyTime is how long agents may take until all are there.
const readyTime = 30 * time.Second

// loop opens a peer with its agents, each of which has had a command.
func (p *peer) loop(ctx context.Context, o *options) (_ *loop, err error) {
	l := &loop{peer: p, inboxes: newInboxes(o.VMs)}
	defer func() {
		if err != nil {
			l.close()
			err = fmt.Errorf("%s: %w", p.Name, err)
		}
	}()
	if err := p.open(ctx, o, l); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for i := range o.VMs {
		if err := l.roundTrip(ctx, i); err != nil {
			return nil, err
		}
	}
	return l, nil
}
