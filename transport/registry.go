package transport

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Factory opens client halves of one kind.
type Factory struct {
	Name string // what a configuration flag says: "ws"
	Open func(Config) (Transport, error)
}

// Registry is the transports that a program links, the best first. A configuration flag selects from
// it with Open.
type Registry []Factory

// Names are those of the registry, in order.
func (r Registry) Names() []string {
	names := make([]string, len(r))
	for i, f := range r {
		names[i] = f.Name
	}
	return names
}

// ErrTLSUnused is the error of a transport that speaks TLS by itself, and has no use for the one of a Config.
var ErrTLSUnused = errors.New("it speaks TLS by itself, and has no use for a configuration of it (--ca, --cert)")

// Open opens what spec says: a name ("ws"), names in order of preference ("ws,sse,longpoll", see
// Fallback), "auto" for all in the registry's order, or one way down and another up ("sse+longpoll",
// see Split).
func (r Registry) Open(spec string, c Config) (Transport, error) {
	if down, up, ok := strings.Cut(spec, "+"); ok {
		d, err := r.open(down, c)
		if err != nil {
			return nil, err
		}
		u, err := r.open(up, c)
		if err != nil {
			return nil, err
		}
		return Split(d, u), nil
	}
	names := strings.Split(spec, ",")
	if spec == "auto" {
		names = r.Names()
	}
	if len(names) == 1 {
		return r.open(names[0], c)
	}
	var ways []Way
	var unused error    // why the broker that is given is of no use
	var without []error // why ways have no use for the TLS that is given
	for _, name := range names {
		t, err := r.open(name, c)
		if errors.Is(err, ErrTLSUnused) { // nothing of it is in the clear; another way may use it
			without = append(without, err)
			c := c
			c.TLS = nil
			t, err = r.open(name, c)
		}
		if spec == "auto" && errors.Is(err, ErrNoBroker) {
			unused = err
			continue
		}
		if err != nil {
			return nil, err
		}
		ways = append(ways, Way{Name: strings.TrimSpace(name), Transport: t})
	}
	if unused != nil && c.Broker != "" && !r.spoken(c, ways) {
		return nil, unused
	}
	if len(without) > 0 && len(without) == len(ways) {
		return nil, without[0]
	}
	return NewFallback(FallbackOptions{Log: c.Log}, ways...), nil
}

// spoken says whether one of the ways is over the broker of the Config.
func (r Registry) spoken(c Config, ways []Way) bool {
	c.Broker = ""
	return slices.ContainsFunc(ways, func(w Way) bool {
		_, err := r.open(w.Name, c)
		return errors.Is(err, ErrNoBroker)
	})
}

func (r Registry) open(name string, c Config) (Transport, error) {
	name = strings.TrimSpace(name)
	i := slices.IndexFunc(r, func(f Factory) bool { return f.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("unknown transport %q: known are %s, a list of them, auto, and DOWN+UP", name, strings.Join(r.Names(), ", "))
	}
	t, err := r[i].Open(c)
	if err != nil {
		return nil, fmt.Errorf("transport %s: %w", name, err)
	}
	return t, nil
}
