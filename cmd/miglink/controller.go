package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/ledger/bolt"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/tlsfile"
	"github.com/miglink/miglink/transport/web"
)

type controllerCmd struct {
	Listen   string `default:"127.0.0.1:8080" help:"Address to listen on." placeholder:"HOST:PORT"`
	Data     string `default:"miglink-data" help:"Directory of the ledger." placeholder:"DIR"`
	Insecure bool   `help:"Listen on an address that others can reach, although nobody is asked for credentials; or let tokens come in the clear there, or by way of a broker."`
	TLSCert  string `help:"PEM file of the certificate; with --tls-key, serve HTTPS. Both are read again when they change." placeholder:"FILE"`
	TLSKey   string `help:"PEM file of its key." placeholder:"FILE"`

	AllowHost      []string `help:"Serve requests for this host name, too, where nobody is asked for credentials; * is any. Without, they have to be for an IP address or localhost, so that no page in a browser gets at the controller. Repeatable." placeholder:"NAME"`
	GRPCReflection bool     `name:"grpc-reflection" help:"Let tools like grpcurl look at the gRPC service, without credentials."`

	whoIsWho
	Audit string `help:"File to append lines to of what operators ask for: what changes something before it is done, or it is not done, and up to ten a second of the rest. It may be moved away at any time, and SIGHUP opens it anew." placeholder:"FILE"`

	OpenParameters map[string]string `help:"Parameters that are no secrets, of a command type that is not the SDK's: the audit shows them, and the ledger keeps them once the command has ended. Of a type that is not named all are taken for secrets; * are all. Repeatable." placeholder:"TYPE=NAME,NAME"`

	Standby bool `help:"Wait while another controller has the ledger, and take over when it ends."`

	NATS       string `help:"Also take agents from a NATS broker." placeholder:"nats://HOST:4222"`
	Redis      string `help:"Also take agents from a Redis server." placeholder:"redis://HOST:6379"`
	AMQP       string `help:"Also take agents from a RabbitMQ broker." placeholder:"amqp://HOST:5672"`
	GCPPubSub  string `name:"gcppubsub" help:"Also take agents from Google Cloud Pub/Sub." placeholder:"gcppubsub://PROJECT"`
	BrokerFile string `help:"File that holds such URLs, one a line, for those with passwords: what is given as a flag can be seen by everybody on the machine. User and password are read again for each connection; anything else of it at the start." placeholder:"FILE"`
	brokerTLSFlags
	prefix

	Keepalive   time.Duration `help:"A link is dead after twice this time in silence. Default: 15s; 1m over Google Cloud Pub/Sub, where each message costs." placeholder:"DURATION"`
	AckDeadline time.Duration `default:"30s" help:"Deliver a command again that was not heard of for this long."`
	MaxAttempts int           `default:"10" help:"Deliveries that arrive and get no answer, or that end a link which worked, before a command that has not started is given up."`
	Lease       time.Duration `default:"30s" help:"How long a VM counts as online after its last sign of life."`
	Window      int           `default:"64" help:"Most commands in flight per VM."`
	Retention   time.Duration `default:"168h" help:"How long settled commands are remembered."`
	Absence     time.Duration `default:"168h" help:"After how long without a sign of life a VM counts as gone: its commands end then, as dead or interrupted."`
	Drain       time.Duration `default:"5s" help:"Spread the end of links over this time when stopping."`
	logging
}

// declare says which parameters are no secrets, before the ledger is opened.
func (c *controllerCmd) declare() error {
	for _, t := range slices.Sorted(maps.Keys(c.OpenParameters)) {
		if err := command.DeclareOpen(command.Type(t), strings.Split(c.OpenParameters[t], ",")...); err != nil {
			return &exitError{exitUsage, fmt.Errorf("--open-parameters %s=%s: %w", t, c.OpenParameters[t], err)}
		}
	}
	return nil
}

const (
	stopTime    = 10 * time.Second // bounds what a stop takes beyond the drain
	answersTime = 2 * time.Second  // of it, for the last answers to be taken
)

func (c *controllerCmd) Run(ctx context.Context) error {
	if err := c.readBrokers(); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	if err := c.declare(); err != nil {
		return err
	}
	outlive()
	log, _, err := c.logger()
	if err != nil {
		return err
	}
	parts := c.brokers()
	if c.OIDCIssuer != "" {
		parts = append(parts, issuerPart)
	}
	health := newHealth(parts)
	vms, operators, err := c.authenticators(ctx, health, log)
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
	private, _ := loopback(c.Listen)
	endpoints := health.routes(operators, operators != nil && !private, c.AllowHost)
	front := newFront(endpoints, health.notYet)
	requests, stopRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRequests()
	server := web.NewServer(requests, front, web.ServerOptions{Log: log})
	defer server.Close()
	served := make(chan error, 1)
	// A controller answers before it has the ledger: opening one takes a while, and standing by takes longer.
	address, err := c.serve(ctx, server, https, served)
	if err != nil && (!c.Standby || !errors.Is(err, syscall.EADDRINUSE)) { // in use by the one that has the ledger, perhaps
		return err
	}

	l, err := c.ledger(ctx, health, log)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil // it was stopped while it stood by
	}
	if err != nil {
		return err
	}
	defer l.Close()
	if address == "" {
		if address, err = c.serve(ctx, server, https, served); err != nil {
			return err
		}
	}
	ctl := controller.New(l, controller.Options{
		Log: log, AckDeadline: c.AckDeadline, MaxAttempts: c.MaxAttempts, Lease: c.Lease, Window: c.Window, Retention: c.Retention, Absence: c.Absence,
	})
	defer ctl.Close()
	front.set(c.handler(ctl, vms, operators, records.audit, endpoints, log))
	health.has(ctl)
	health.is(serving)

	closeBrokers, err := c.listenAtBrokers(ctx, ctl, vms, health, log)
	if err != nil {
		return err
	}
	defer closeBrokers()
	fmt.Printf("controller: %s, ledger in %s\n", address, c.Data)
	if open := c.unasked(); open != "" {
		fmt.Printf("controller: %s\n", open)
	}
	if c.agentsAsked() && !private && c.TLSCert == "" { // --insecure was said
		log.Warn("tokens come in the clear: serve TLS here, or in front of this", "component", "controller")
	}

	select {
	case err := <-served:
		return &exitError{exitUsage, err}
	case <-ctx.Done():
	}
	health.is(draining)
	log.Info("stopping", "component", "controller", "drain", c.Drain)
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Drain+stopTime)
	defer cancel()
	if ctl.Shutdown(limit, c.Drain) != nil {
		log.Warn("links were cut whose other end took too long", "component", "controller")
	}
	stopRequests()
	if finishRequests(limit, server) {
		log.Warn("requests were cut whose other end took too long", "component", "controller")
	}
	return nil
}

// listenAt listens on an address. Of 0.0.0.0 net.Listen would make all addresses of IPv6, too.
func listenAt(ctx context.Context, address string) (net.Listener, error) {
	network := "tcp"
	if host, _, err := net.SplitHostPort(address); err == nil && net.ParseIP(host).To4() != nil {
		network = "tcp4"
	}
	var config net.ListenConfig
	return config.Listen(ctx, network, address)
}

// finishRequests ends a server, and returns whether requests had to be cut. What the controller has still to say to them is
// on its way, so there is no time for whom it waits for: anybody can leave the body of a request half sent, and that must
// neither hold up the end of the process nor make a failure of it.
func finishRequests(ctx context.Context, server *http.Server) (cut bool) {
	ctx, cancel := context.WithTimeout(ctx, answersTime)
	defer cancel()
	if server.Shutdown(ctx) == nil {
		return false
	}
	_ = server.Close() // listeners are closed already
	return true
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

// serve listens and serves, and returns at which URL. The end of server goes to served.
func (c *controllerCmd) serve(ctx context.Context, server *http.Server, https *tls.Config, served chan<- error) (address string, err error) {
	listener, err := listenAt(ctx, c.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE): // perhaps by one that is about to end
		return "", &exitError{exitStorage, fmt.Errorf("--listen: %w", err)}
	case err != nil:
		return "", usage("--listen: %w", err)
	}
	if https == nil {
		go func() { served <- server.Serve(listener) }()
		return "http://" + listener.Addr().String(), nil
	}
	server.TLSConfig = https
	go func() { served <- server.ServeTLS(listener, "", "") }()
	return "https://" + listener.Addr().String(), nil
}

// ledger opens the ledger, once no other controller has it.
func (c *controllerCmd) ledger(ctx context.Context, health *health, log *slog.Logger) (*bolt.Ledger, error) {
	for said := false; ; said = true {
		l, err := bolt.Open(c.Data, bolt.Options{Log: log})
		switch {
		case err == nil:
			return l, nil
		case !c.Standby || !errors.Is(err, bolt.ErrInUse):
			return nil, stored(err)
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !said:
			health.is(standby)
			fmt.Printf("controller: another has the ledger in %s; waiting for its end\n", c.Data)
		}
	}
}

// shortest is the least time in which an agent can be expected to answer.
const shortest = 100 * time.Millisecond

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
	if err := c.checkHosts(); err != nil {
		return err
	}
	if err := c.checkClear(); err != nil {
		return err
	}
	if err := c.checkBrokers(); err != nil {
		return err
	}
	if c.Keepalive < 0 {
		return usage("--keepalive is negative")
	}
	for name, d := range map[string]time.Duration{"--ack-deadline": c.AckDeadline, "--keepalive": c.Keepalive} {
		if d > 0 && d < shortest {
			return usage("%s is %s, less than any network takes; at least %s is needed", name, d, shortest)
		}
	}
	for name, d := range map[string]time.Duration{"--ack-deadline": c.AckDeadline, "--lease": c.Lease, "--retention": c.Retention, "--absence": c.Absence} {
		if d <= 0 {
			return usage("%s is not positive", name)
		}
	}
	for name, n := range map[string]int{"--max-attempts": c.MaxAttempts, "--window": c.Window} {
		if n < 1 {
			return usage("%s is less than 1", name)
		}
	}
	if c.Drain < 0 {
		return usage("--drain is negative")
	}
	return nil
}

// checkBrokers refuses what is no URL of a broker.
func (c *controllerCmd) checkBrokers() error {
	for name, url := range map[string]string{"nats": c.NATS, "redis": c.Redis, "rabbitmq": c.AMQP, "gcppubsub": c.GCPPubSub} {
		if url == "" {
			continue
		}
		if _, err := registry.Open(name, transport.Config{Broker: url}); err != nil {
			return usage("--%s: %w", brokerFlags[name], err)
		}
	}
	return nil
}

// unasked says what follows where nobody is asked for credentials; empty: everybody is. checkWhoIsWho sees to it that
// operators are asked where VMs are.
func (c *controllerCmd) unasked() string {
	if c.agentsAsked() {
		return ""
	}
	return "nobody is asked for credentials: whoever reaches it may send commands, and be any VM"
}

// loopback says whether only this machine reaches an address.
func loopback(address string) (bool, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false, err
	}
	return secure.Loopback(host), nil
}
