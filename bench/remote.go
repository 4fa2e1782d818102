package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

// remote is the ledger of a controller elsewhere, as far as can be told.
const remote = "remote"

// At a controller elsewhere a command is a request that sends it and one that waits for its end, of which each holds
// a connection: by so many clients, with so many connections each, which is what a client keeps.
const (
	clients   = 64
	perClient = 4
	atOnce    = clients * perClient
)

// checkRemote fills in what can be measured of a controller elsewhere: it is not ours to start, to kill or to look
// into, and there is no bare loop beside it.
func (o *Options) checkRemote() error {
	u, err := url.Parse(o.Controller)
	if err != nil || u.Host == "" {
		return errors.New("bench: the URL of the controller is none")
	}
	can := []string{"roundtrip", "load", "throughput", "storm"}
	if len(o.Measures) == 0 {
		o.Measures = can
	}
	by := []string{"ws", "sse", "longpoll", "grpc"}
	if len(o.Transports) == 0 {
		o.Transports = by
	}
	if len(o.Ledgers) == 0 {
		o.Ledgers = []string{remote}
	}
	for _, of := range []struct {
		what          string
		chosen, among []string
	}{{"measures", o.Measures, can}, {"transports", o.Transports, by}, {"ledgers", o.Ledgers, []string{remote}}} {
		for _, s := range of.chosen {
			if !slices.Contains(of.among, s) {
				return fmt.Errorf("bench: %s of a controller elsewhere are %v, and not %q", of.what, of.among, s)
			}
		}
	}
	if o.Delay > 0 || o.Jitter > 0 || o.Loss > 0 || o.OneCPU {
		return errors.New("bench: a controller elsewhere is measured over the network that there is, and on its own CPUs")
	}
	return nil
}

// reach makes a loop's way to the controller elsewhere. Its VMs have names that nobody else's have; they stay known
// there.
func (o *Options) reach(l *loop) (err error) {
	l.at = place{URL: o.Controller, VMs: "bench-" + uuid.NewString()[:8] + "-", TokenFile: o.TokenFile, Insecure: o.Insecure}
	l.send, err = sendThrough(strings.TrimRight(o.Controller, "/")+"/admin/v1", transport.Config{Token: l.at.token(), Insecure: o.Insecure})
	return err
}

// sendThrough sends by the admin API.
func sendThrough(url string, config transport.Config) (send, error) {
	var all [clients]*admin.Client
	for i := range all {
		var err error
		if all[i], err = admin.NewClient(url, config); err != nil {
			return nil, err
		}
	}
	var turn atomic.Uint64
	return func(ctx context.Context, vm string) (func(ctx context.Context) error, error) {
		cmd, err := newCommand()
		if err != nil {
			return nil, err
		}
		c := all[turn.Add(1)%clients]
		sent, err := c.Send(ctx, admin.Send{VM: vm, Type: cmd.Type, Parameters: cmd.Parameters, ID: cmd.ID})
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			if !sent.Settled {
				s, err := c.Wait(ctx, sent.ID)
				if err != nil {
					return err
				}
				sent = s
			}
			return succeeded(sent.Stage)
		}, nil
	}, nil
}

// token reads the bearer token for a controller elsewhere, each time: who makes tokens may replace it.
func (p place) token() transport.TokenSource {
	if p.TokenFile == "" {
		return nil
	}
	return func(context.Context) (string, error) {
		b, err := os.ReadFile(p.TokenFile)
		return strings.TrimSpace(string(b)), err
	}
}

// redacted is a URL without a password.
func redacted(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Redacted()
}
