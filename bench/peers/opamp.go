package main

import (
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"sync"

	"github.com/open-telemetry/opamp-go/client"
	clienttypes "github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opamp-go/server"
	"github.com/open-telemetry/opamp-go/server/types"
)

// opampPeer uses custom messages: OpAMP's own command has but one type, restart, and no result, and a
// remote configuration has a status but no parameters per command, and only the last one counts.
var opampPeer = peer{
	Name:     "opamp",
	How:      "a custom message each way, over WebSocket; an agent has one ack at a time on its way out",
	Promises: promises{Order: "of a connection"},
	open:     openOpAMP,
	agent:    opampAgent,
}

const opampCapability = "com.github.miglink.commands"

func openOpAMP(ctx context.Context, o *options, l *loop) error {
	conns := make([]types.Connection, o.VMs)
	var mu sync.Mutex // of conns
	callbacks := types.ConnectionCallbacks{
		OnMessage: func(_ context.Context, conn types.Connection, m *protobufs.AgentToServer) *protobufs.ServerToAgent {
			vm := vmOf(m.InstanceUid)
			if vm < 0 || vm >= o.VMs {
				return nil
			}
			if m.CustomMessage != nil {
				l.inboxes[vm].hear(m.CustomMessage.Data)
				return nil
			}
			mu.Lock()
			conns[vm] = conn
			mu.Unlock()
			l.inboxes[vm].hear(hello) // its first message, of what it is
			return nil
		},
	}
	s := server.New(nil)
	handler, _, err := s.Attach(server.Settings{
		CustomCapabilities: []string{opampCapability},
		Callbacks: types.Callbacks{OnConnecting: func(*http.Request) types.ConnectionResponse {
			return types.ConnectionResponse{Accept: true, ConnectionCallbacks: callbacks}
		}},
	})
	if err != nil {
		return err
	}
	addr, err := l.serve(http.HandlerFunc(handler))
	if err != nil {
		return err
	}
	if err := l.startAgents(o, "ws://"+addr); err != nil {
		return err
	}
	if err := l.attended(ctx); err != nil {
		return err
	}
	for vm, conn := range conns {
		uid := uidOf(vm)
		l.clean.add(func() { _ = conn.Disconnect() }) // the agent has gone
		l.pipe(func() error {
			_, data, err := newData()
			if err != nil {
				return err
			}
			return conn.Send(ctx, &protobufs.ServerToAgent{InstanceUid: uid[:], CustomMessage: opampMessage("command", data)})
		})
	}
	return nil
}

func opampMessage(kind string, data []byte) *protobufs.CustomMessage {
	return &protobufs.CustomMessage{Capability: opampCapability, Type: kind, Data: data}
}

func opampDescription(vm int) *protobufs.AgentDescription {
	name := &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: vmName(vm)}}
	return &protobufs.AgentDescription{IdentifyingAttributes: []*protobufs.KeyValue{{Key: "service.instance.id", Value: name}}}
}

// uidOf is the identity of a VM's agent; vmOf is the reverse.
func uidOf(vm int) (uid clienttypes.InstanceUid) {
	binary.BigEndian.PutUint64(uid[8:], uint64(vm)+1) // none is all zeros
	return uid
}

func vmOf(uid []byte) int {
	if len(uid) != len(clienttypes.InstanceUid{}) {
		return -1
	}
	return int(binary.BigEndian.Uint64(uid[8:])) - 1
}

func opampAgent(url string, i int) error {
	ctx := context.Background()
	c := client.NewWebSocket(nil)
	failed := make(chan error, 1)
	ack := func(m *protobufs.CustomMessage) {
		data, err := answerTo(m.Data)
		for err == nil {
			var sent chan struct{}
			sent, err = c.SendCustomMessage(opampMessage("ack", data))
			if err == nil {
				return
			}
			if errors.Is(err, clienttypes.ErrCustomMessagePending) {
				<-sent
				err = nil
			}
		}
		failed <- err
	}
	if err := c.SetAgentDescription(opampDescription(i)); err != nil {
		return err
	}
	if err := c.SetCustomCapabilities(&protobufs.CustomCapabilities{Capabilities: []string{opampCapability}}); err != nil {
		return err
	}
	err := c.Start(ctx, clienttypes.StartSettings{
		OpAMPServerURL: url,
		InstanceUid:    uidOf(i),
		Callbacks: clienttypes.Callbacks{OnMessage: func(_ context.Context, m *clienttypes.MessageData) {
			if m.CustomMessage != nil {
				ack(m.CustomMessage)
			}
		}},
	})
	if err != nil {
		return err
	}
	return <-failed
}
