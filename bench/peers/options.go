package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxWindow bounds the commands under way to one VM.
const maxWindow = 1024

type options struct {
	Peers  []string      `help:"What to measure beside bare gorilla. Default: all." placeholder:"NAME,…"`
	MQTT   string        `name:"mqtt" help:"Measure this broker, too, as mqtt-broker." placeholder:"tcp://HOST:1883"`
	Rounds int           `default:"6" help:"Rounds in which all take turns."`
	Turn   time.Duration `default:"200ms" help:"Time of a turn; one of throughput takes five."`
	VMs    int           `name:"vms" default:"100" help:"VMs that commands go to, for throughput."`
	Window int           `default:"64" help:"Commands under way to each of them."`

	program  string            // which is its agents, too
	progress func(done string) // is told how far it is
	fail     context.CancelCauseFunc
}

// Validate is called by kong.
func (o *options) Validate() error {
	if o.Rounds < 1 || o.VMs < 1 || o.Window < 1 {
		return errors.New("rounds, VMs and windows are at least 1")
	}
	if o.Window > maxWindow {
		return fmt.Errorf("a window is at most %d", maxWindow)
	}
	if o.Turn <= 0 {
		return errors.New("a turn takes some time")
	}
	if u, err := url.Parse(o.MQTT); o.MQTT != "" && (err != nil || u.Scheme != "tcp" || u.Host == "") {
		return errors.New("--mqtt is a URL as tcp://HOST:1883") // which may hold a password
	}
	var names []string
	for _, p := range peers {
		names = append(names, p.Name)
	}
	for _, name := range o.Peers {
		if !slices.Contains(names, name) {
			return fmt.Errorf("there is no peer %q: there are %s", name, strings.Join(names, ", "))
		}
		if name == externalMQTT && o.MQTT == "" {
			return fmt.Errorf("%s needs --mqtt, the URL of a broker", name)
		}
	}
	return nil
}

// chosen are the peers to measure, bare gorilla first.
func (o *options) chosen() []*peer {
	var chosen []*peer
	for i, p := range peers {
		wanted := slices.Contains(o.Peers, p.Name) || len(o.Peers) == 0 && (p.Name != externalMQTT || o.MQTT != "")
		if i == 0 || wanted {
			chosen = append(chosen, p)
		}
	}
	return chosen
}
