package conformance_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/conformance"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
)

// mutant is a transport with one defect: the functions that are set replace what is right.
type mutant struct {
	transport.Transport
	dial    func(ctx context.Context, t transport.Transport, h transport.Hello) (transport.Link, error)
	receive func(ctx context.Context, l transport.Link) ([]transport.Delivery, error)
	ack     func(ctx context.Context, l transport.Link, acks []ack.Ack) error
	report  func(ctx context.Context, l transport.Link, events []event.Event) error
	close   func(l transport.Link) error
}

func (m mutant) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	dial := m.Transport.Dial
	if m.dial != nil {
		dial = func(ctx context.Context, h transport.Hello) (transport.Link, error) {
			return m.dial(ctx, m.Transport, h)
		}
	}
	l, err := dial(ctx, h)
	if err != nil {
		return nil, err
	}
	return mutantLink{l, m}, nil
}

type mutantLink struct {
	transport.Link
	m mutant
}

func (l mutantLink) Receive(ctx context.Context) ([]transport.Delivery, error) {
	if l.m.receive != nil {
		return l.m.receive(ctx, l.Link)
	}
	return l.Link.Receive(ctx)
}

func (l mutantLink) Ack(ctx context.Context, acks ...ack.Ack) error {
	if l.m.ack != nil {
		return l.m.ack(ctx, l.Link, acks)
	}
	return l.Link.Ack(ctx, acks...)
}

func (l mutantLink) Report(ctx context.Context, events ...event.Event) error {
	if l.m.report != nil {
		return l.m.report(ctx, l.Link, events)
	}
	return l.Link.Report(ctx, events...)
}

func (l mutantLink) Close() error {
	if l.m.close != nil {
		return l.m.close(l.Link)
	}
	return l.Link.Close()
}

// redial changes what an agent says.
func redial(change func(h *transport.Hello)) mutant {
	return mutant{dial: func(ctx context.Context, t transport.Transport, h transport.Hello) (transport.Link, error) {
		change(&h)
		return t.Dial(ctx, h)
	}}
}

// received changes what an agent gets.
func received(change func(page []transport.Delivery) []transport.Delivery) mutant {
	return mutant{receive: func(ctx context.Context, l transport.Link) ([]transport.Delivery, error) {
		page, err := l.Receive(ctx)
		return change(page), err
	}}
}

// A suite that finds nothing wrong with a broken transport proves nothing of a good one. Each of
// these has one defect that an adapter might have; the scenario that is named finds it.
var mutants = []struct {
	name     string
	scenario int
	mutant   mutant
}{
	{"loses the first of several", 42, received(func(p []transport.Delivery) []transport.Delivery {
		if len(p) > 1 {
			return p[1:]
		}
		return p
	})},
	{"turns pages around", 42, received(func(p []transport.Delivery) []transport.Delivery {
		slices.Reverse(p)
		return p
	})},
	{"mangles what is not ASCII", 10, received(func(p []transport.Delivery) []transport.Delivery {
		for i := range p {
			p[i].Parameters = command.Parameters(strings.Map(func(r rune) rune { return min(r, 0x7e) }, string(p[i].Parameters)))
		}
		return p
	})},
	{"forgets the attempt", 6, received(func(p []transport.Delivery) []transport.Delivery {
		for i := range p {
			p[i].Attempt = 1
		}
		return p
	})},
	{"forgets that a handler had begun", 99, received(func(p []transport.Delivery) []transport.Delivery {
		for i := range p {
			p[i].Started = false
		}
		return p
	})},
	{"forgets the cursor", 28, received(func(p []transport.Delivery) []transport.Delivery {
		for i := range p {
			p[i].Cursor = ""
		}
		return p
	})},
	{"says too high a cursor", 27, redial(func(h *transport.Hello) { h.After = tooFar(h.After) })},
	{"does not say the cursor", 28, redial(func(h *transport.Hello) { h.After = "" })},
	{"does not say the instance", 50, redial(func(h *transport.Hello) { h.Instance = "" })},
	{"does not say the window", 39, redial(func(h *transport.Hello) { h.Window = 0 })},
	{"mixes up VMs", 8, redial(func(h *transport.Hello) { h.VM = "vm" })},
	{"says that acks are recorded, and drops them", 12, mutant{ack: func(context.Context, transport.Link, []ack.Ack) error { return nil }}},
	{"records the first progress again", 104, mutant{ack: func(ctx context.Context, l transport.Link, acks []ack.Ack) error {
		if acks[0].Reason == "step 0" {
			time.AfterFunc(100*time.Millisecond, func() { _ = l.Ack(context.Background(), acks...) })
		}
		return l.Ack(ctx, acks...)
	}}},
	{"hides refusals", 25, mutant{ack: func(ctx context.Context, l transport.Link, acks []ack.Ack) error {
		err := l.Ack(ctx, acks...)
		if transport.Refused(err) {
			return nil
		}
		return err
	}}},
	{"drops events", 85, mutant{report: func(context.Context, transport.Link, []event.Event) error { return nil }}},
	{"flattens errors", 34, mutant{
		dial: func(ctx context.Context, t transport.Transport, h transport.Hello) (transport.Link, error) {
			l, err := t.Dial(ctx, h)
			if err != nil {
				err = errors.New(err.Error())
			}
			return l, err
		},
		receive: func(ctx context.Context, l transport.Link) ([]transport.Delivery, error) {
			page, err := l.Receive(ctx)
			if err != nil && ctx.Err() == nil {
				err = errors.New(err.Error())
			}
			return page, err
		},
	}},
	{"does not heed a context", 52, mutant{receive: func(ctx context.Context, l transport.Link) ([]transport.Delivery, error) {
		return l.Receive(context.WithoutCancel(ctx))
	}}},
	{"ends links on which nothing happens", 86, mutant{receive: func(ctx context.Context, l transport.Link) ([]transport.Delivery, error) {
		idle, cancel := context.WithTimeoutCause(ctx, 500*time.Millisecond, errors.New("idle"))
		defer cancel()
		page, err := l.Receive(idle)
		if err != nil && ctx.Err() == nil {
			err = context.Cause(idle)
		}
		return page, err
	}}},
	{"does not close", 51, mutant{close: func(transport.Link) error { return nil }}},
}

// tooFar is a cursor beyond the one that is given.
func tooFar(c transport.Cursor) transport.Cursor {
	epoch, _, _ := strings.Cut(string(c), ".")
	return transport.Cursor(epoch + ".5.5")
}

func TestMutantsAreFound(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			require.Empty(t, play(t, m.scenario, mutant{}), "without a defect it passes")
			found := play(t, m.scenario, m.mutant)
			require.NotEmpty(t, found)
			t.Log(found)
		})
	}
}

// play is what a scenario says of a transport.
func play(t *testing.T, scenario int, m mutant) string {
	t.Helper()
	s, err := conformance.Select([]string{strconv.Itoa(scenario)})
	require.NoError(t, err)
	subject := conformance.Subject{
		Name:  "mutant",
		Facts: conformance.Facts{NoWire: true},
		Open: func(_ *conformance.Env, c transport.Transport) (transport.Transport, error) {
			m.Transport = c
			return m, nil
		},
	}
	report, err := conformance.Run(t.Context(), []conformance.Subject{subject}, conformance.Options{Scenarios: s, Timeout: 2 * time.Second})
	require.NoError(t, err)
	return report.Results[0].Err
}
