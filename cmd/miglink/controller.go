package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/ledger/bolt"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/gcppubsub"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/nats"
	"github.com/miglink/miglink/transport/rabbitmq"
	"github.com/miglink/miglink/transport/redis"
	"github.com/miglink/miglink/transport/tlsfile"
	"github.com/miglink/miglink/transport/web"
)

type controllerCmd struct {
	Listen   string `default:"127.0.0.1:8080" help:"Address to listen on." placeholder:"HOST:PORT"`
	Data     string `default:"miglink-data" help:"Directory of the ledger." placeholder:"DIR"`
	Insecure bool   `help:"Listen on an address that others can reach, although not everybody is asked for credentials."`
	TLSCert  string `help:"PEM file of the certificate; with --tls-key, serve HTTPS. Both are read again when they change." placeholder:"FILE"`
	TLSKey   string `help:"PEM file of its key." placeholder:"FILE"`

	whoIsWho
	Audit string `help:"File to append a line to for each request of an operator; what cannot be recorded is not done. It may be moved away at any time, and SIGHUP opens it anew." placeholder:"FILE"`

	Standby bool `help:"Wait while another controller has the ledger, and take over when it ends."`

	NATS      string `help:"Also take agents from a NATS broker." placeholder:"nats://HOST:4222"`
	Redis     string `help:"Also take agents from a Redis server." placeholder:"redis://HOST:6379"`
	AMQP      string `help:"Also take agents from a RabbitMQ broker." placeholder:"amqp://HOST:5672"`
	GCPPubSub string `name:"gcppubsub" help:"Also take agents from Google Cloud Pub/Sub." placeholder:"gcppubsub://PROJECT"`
	brokerTLSFlags
	prefix

	Keepalive   time.Duration `help:"A link is dead after twice this time in silence. Default: 15s; 1m over Google Cloud Pub/Sub, where each message costs." placeholder:"DURATION"`
	AckDeadline time.Duration `default:"30s" help:"Deliver a command again that was not heard of for this long."`
	MaxAttempts int           `default:"10" help:"Deliveries before a command is given up."`
	Lease       time.Duration `default:"30s" help:"How long a VM counts as online after its last sign of life."`
	Window      int           `default:"64" help:"Most commands in flight per VM."`
	Retention   time.Duration `default:"168h" help:"How long settled commands are remembered."`
	Drain       time.Duration `default:"5s" help:"Spread the end of links over this time when stopping."`
	logging
}

// stopTime bounds what a stop takes beyond the drain.
const stopTime = 10 * time.Second

func (c *controllerCmd) Run(ctx context.Context) error {
	if err := c.check(); err != nil {
		return err
	}
	log, _, err := c.logger()
	if err != nil {
		return err
	}
	vms, operators, err := c.authenticators(ctx, log)
	if err != nil {
		return err
	}
	https, err := c.https(log)
	if err != nil {
		return err
	}
	records, err := c.audit(log)
	if err != nil {
		return err
	}
	defer records.close()
	l, err := c.ledger(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	ctl := controller.New(l, controller.Options{
		Log: log, AckDeadline: c.AckDeadline, MaxAttempts: c.MaxAttempts, Lease: c.Lease, Window: c.Window, Retention: c.Retention,
	})
	defer ctl.Close()

	mux := http.NewServeMux()
	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(ctl, web.Options{Authenticator: vms, Keepalive: c.Keepalive, Log: log})))
	mux.Handle(grpc.Handler(ctl, grpc.HandlerOptions{Authenticator: vms, Keepalive: c.Keepalive, Log: log}))
	for path, h := range grpc.Reflection() {
		mux.Handle(path, h)
	}
	mux.Handle("/admin/v1/", http.StripPrefix("/admin/v1", admin.Handler(ctl, admin.Options{Authenticator: operators, Audit: records.audit, Log: log})))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	requests, stopRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRequests()
	server := web.NewServer(requests, mux)

	closeBrokers, err := c.listenAtBrokers(ctx, ctl, vms, log)
	if err != nil {
		return err
	}
	defer closeBrokers()

	var network net.ListenConfig
	listener, err := network.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return usage("--listen: %w", err)
	}
	served := make(chan error, 1)
	scheme := "http"
	if https != nil {
		scheme, server.TLSConfig = "https", https
		go func() { served <- server.ServeTLS(listener, "", "") }()
	} else {
		go func() { served <- server.Serve(listener) }()
	}
	fmt.Printf("controller: %s://%s, ledger in %s\n", scheme, listener.Addr(), c.Data)
	if open := c.unasked(); open != "" {
		fmt.Printf("controller: %s\n", open)
	}
	if private, _ := loopback(listener.Addr().String()); c.agentsAsked() && !private && c.TLSCert == "" {
		log.Warn("tokens come in the clear: serve TLS here, or in front of this", "component", "controller")
	}

	select {
	case err := <-served:
		return &exitError{exitUsage, err}
	case <-ctx.Done():
	}
	log.Info("stopping", "component", "controller", "drain", c.Drain)
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Drain+stopTime)
	defer cancel()
	err = ctl.Shutdown(limit, c.Drain)
	stopRequests()
	return errors.Join(err, server.Shutdown(limit))
}

// https is how TLS is served; nil: it is not.
func (c *controllerCmd) https(log *slog.Logger) (*tls.Config, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	config, err := tlsfile.Server(tlsfile.ServerFiles{Cert: c.TLSCert, Key: c.TLSKey, ClientCA: c.ClientCA, Log: log})
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return config, nil
}

// ledger opens the ledger, once no other controller has it.
func (c *controllerCmd) ledger(ctx context.Context) (*bolt.Ledger, error) {
	for said := false; ; said = true {
		l, err := bolt.Open(c.Data)
		switch {
		case err == nil:
			return l, nil
		case !c.Standby || !errors.Is(err, bolt.ErrInUse):
			return nil, &exitError{exitUsage, err}
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !said:
			fmt.Printf("controller: another has the ledger in %s; waiting for its end\n", c.Data)
		}
	}
}

// listenAtBrokers takes agents from all the brokers that are given.
func (c *controllerCmd) listenAtBrokers(ctx context.Context, ctl *controller.Controller, vms transport.Authenticator, log *slog.Logger) (closeAll func(), err error) {
	secure, err := c.config(log, c.NATS, c.Redis, c.AMQP)
	if err != nil {
		return nil, err
	}
	var open []io.Closer
	closeAll = func() {
		for _, l := range open {
			l.Close()
		}
	}
	listen := func(url string, f func() (io.Closer, error)) {
		if url == "" || err != nil {
			return
		}
		l, failed := f()
		if failed != nil {
			err = &exitError{exitUnreachable, failed}
			return
		}
		open = append(open, l)
	}
	listen(c.NATS, func() (io.Closer, error) {
		return nats.Listen(ctx, c.NATS, ctl, nats.ListenOptions{Prefix: c.Prefix, TLS: secure, Authenticator: vms, Keepalive: c.Keepalive, Log: log})
	})
	listen(c.Redis, func() (io.Closer, error) {
		return redis.Listen(ctx, c.Redis, ctl, redis.ListenOptions{Prefix: c.Prefix, TLS: secure, Authenticator: vms, Keepalive: c.Keepalive, Log: log})
	})
	listen(c.AMQP, func() (io.Closer, error) {
		return rabbitmq.Listen(ctx, c.AMQP, ctl, rabbitmq.ListenOptions{Prefix: c.Prefix, TLS: secure, Authenticator: vms, Keepalive: c.Keepalive, Log: log})
	})
	listen(c.GCPPubSub, func() (io.Closer, error) {
		return gcppubsub.Listen(ctx, c.GCPPubSub, ctl, gcppubsub.ListenOptions{Prefix: c.Prefix, Authenticator: vms, Keepalive: c.Keepalive, Log: log})
	})
	if err != nil {
		closeAll()
	}
	return closeAll, err
}

func (c *controllerCmd) check() error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return usage("--tls-cert and --tls-key go together")
	}
	if err := c.checkWhoIsWho(); err != nil {
		return err
	}
	private, err := loopback(c.Listen)
	if err != nil {
		return usage("--listen: %w", err)
	}
	if open := c.unasked(); !private && open != "" && !c.Insecure {
		return usage("--listen %s can be reached by others, and %s; say --insecure if that is meant", c.Listen, open)
	}
	if c.Keepalive < 0 {
		return usage("--keepalive is negative")
	}
	for name, d := range map[string]time.Duration{"--ack-deadline": c.AckDeadline, "--lease": c.Lease, "--retention": c.Retention} {
		if d <= 0 {
			return usage("%s is not positive", name)
		}
	}
	if c.MaxAttempts < 1 || c.Window < 1 || c.Drain < 0 {
		return usage("--max-attempts and --window are at least 1, and --drain is not negative")
	}
	return nil
}

// unasked says who is not asked for credentials, and what follows; empty: everybody is.
func (c *controllerCmd) unasked() string {
	agents, operators := c.agentsAsked(), c.operatorsAsked()
	switch {
	case !agents && !operators:
		return "nobody is asked for credentials: whoever reaches it may send commands, and be any VM"
	case !operators:
		return "operators are not asked for credentials: whoever reaches it may send commands"
	case !agents:
		return "agents are not asked for credentials: whoever reaches it may be any VM"
	}
	return ""
}

// loopback says whether only this machine reaches an address.
func loopback(address string) (bool, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false, err
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback(), nil
}
