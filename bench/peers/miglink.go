package main

import (
	"context"
	"net/http"

	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/ws"
)

var (
	miglinkMemory = peer{
		Name: "miglink-memory",
		How:  "Send and Wait over ws, ledger in memory",
		Promises: promises{
			Order: "per VM", Dedupe: "by command ID",
			Stages: "received, started, progress, a final one",
			Resume: "while the controller lives",
		},
		open: func(ctx context.Context, o *options, l *loop) error {
			return openMiglink(o, l, memory.New())
		},
		agent: miglinkAgent,
	}
	miglinkBolt = peer{
		Name: "miglink-bolt",
		How:  "Send and Wait over ws, ledger on disk",
		Promises: promises{
			Durable: "fsync: the command before Send returns, the final ack before Wait does",
			Order:   "per VM", Dedupe: "by command ID",
			Stages: "received, started, progress, a final one",
			Resume: "also after the controller was killed",
		},
		open:  openBolt,
		agent: miglinkAgent,
	}
)

func openBolt(_ context.Context, o *options, l *loop) error {
	dir, err := l.dir()
	if err != nil {
		return err
	}
	store, err := bolt.Open(dir, bolt.Options{})
	if err != nil {
		return err
	}
	l.clean.add(func() { store.Close() })
	return openMiglink(o, l, store)
}

func openMiglink(o *options, l *loop, store ledger.Ledger) error {
	c := controller.New(store, controller.Options{Window: maxWindow, Limits: ledger.Limits{Commands: 2 * maxWindow}})
	l.clean.add(func() { c.Close() })
	mux := http.NewServeMux()
	mux.Handle("GET /api/v1/vms/{vm_id}/commands/ws", ws.Handler(c, ws.HandlerOptions{}))
	addr, err := l.serve(mux)
	if err != nil {
		return err
	}
	l.call = func(ctx context.Context, vm int) error {
		cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: "v"}, command.Options{})
		if err != nil {
			return err
		}
		r, err := c.Send(ctx, vmName(vm), cmd)
		if err != nil {
			return err
		}
		_, err = r.Wait(ctx)
		return err
	}
	return l.startAgents(o, "http://"+addr)
}

func miglinkAgent(url string, i int) error {
	t, err := ws.Open(transport.Config{URL: url})
	if err != nil {
		return err
	}
	a, err := agent.New(t, agent.Options{VM: vmName(i)})
	if err != nil {
		return err
	}
	agent.Handle(a, func(context.Context, *agent.Job, command.UpdateConfig) (any, error) { return nil, nil }, agent.Policy{})
	return a.Run(context.Background())
}
