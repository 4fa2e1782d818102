package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

const senders = 32

// batch is the commands of a file on their way.
type batch struct {
	run      runID
	list     []line
	client   *admin.Client
	asker    asker
	bar      *bar
	statuses []admin.Status
	queued   atomic.Int64
	known    atomic.Int64 // of them, before they were sent
	lost     atomic.Int64 // not known whether they are
}

func (c *sendCmd) sendFile(ctx context.Context) error {
	r, err := newRun(c.Resume)
	if err != nil {
		return err
	}
	list, err := readLines(c.File, r, c.Unknown)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "miglink: sending %d commands; if it breaks off, go on with --resume %s\n", len(list), r)
	b := &batch{run: r, list: list, client: client, bar: newBar("sending", len(list)), statuses: make([]admin.Status, len(list))}
	b.asker.limit = c.Retry
	lanes := byVM(list)
	err = b.send(ctx, lanes)
	b.bar.stop()
	warnUnheard(b.statuses)
	if err != nil {
		return b.brokenOff(ctx, err)
	}
	if c.Wait > 0 {
		return c.waitAll(ctx, client, b.statuses)
	}
	if c.json() {
		err = printJSON(b.statuses)
	} else {
		before := ""
		if n := b.known.Load(); n > 0 {
			before = fmt.Sprintf(", %d of them before", n)
		}
		err = say("%d commands queued for %d VMs%s", len(list), len(lanes), before)
	}
	if err != nil {
		return fmt.Errorf("all %d commands are queued, but that could not be printed: %w", len(list), err)
	}
	return nil
}

// send sends the lines of each VM in their order. A line that is refused ends those of its VM, whatever else fails ends all.
func (b *batch) send(ctx context.Context, lanes map[string][]int) error {
	var refused atomic.Pointer[error]
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(senders)
	for _, lane := range lanes {
		g.Go(func() error {
			for _, i := range lane {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				err := b.one(ctx, i)
				var said *transport.Error
				switch {
				case err == nil:
				case errors.As(err, &said) && (conclusive(said.Code) || said.Code == transport.CodeForbidden):
					refused.CompareAndSwap(nil, &err)
					return nil
				default:
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := refused.Load(); err != nil {
		return *err
	}
	return nil
}

func (b *batch) one(ctx context.Context, i int) error {
	l := b.list[i]
	asked := 0
	lost, err := b.asker.ask(ctx, func(ctx context.Context) (err error) {
		asked++
		b.statuses[i], err = b.client.Send(ctx, l.Send)
		return err
	})
	if err != nil {
		if lost {
			b.lost.Add(1)
		}
		return fmt.Errorf("line %d, for %s: %w", l.number, l.VM, err)
	}
	switch s := &b.statuses[i]; {
	case asked > 1:
		s.Created = nil // it may have been by us
	case s.Created != nil && !*s.Created:
		b.known.Add(1)
	}
	b.queued.Add(1)
	b.bar.done()
	return nil
}

// brokenOff says how far it has come, and how to go on.
func (b *batch) brokenOff(ctx context.Context, err error) error {
	status, why := exitStatus(err), err.Error()
	lost := ""
	if n := b.lost.Load(); n > 0 {
		status = exitUnknown
		lost = fmt.Sprintf(", of %d it is not known", n)
	}
	if ctx.Err() != nil {
		status, why = exitInterrupted, "interrupted"
	}
	return &exitError{status, fmt.Errorf("%s; %d of %d commands are queued%s; go on with --resume %s, which sends nothing twice",
		why, b.queued.Load(), len(b.list), lost, b.run)}
}

func byVM(list []line) map[string][]int {
	lanes := map[string][]int{}
	for i, l := range list {
		lanes[l.VM] = append(lanes[l.VM], i)
	}
	return lanes
}

// waitAll waits for every outcome, and fails by the worst.
func (c *sendCmd) waitAll(ctx context.Context, client *admin.Client, statuses []admin.Status) error {
	bar := newBar("waiting", len(statuses))
	defer bar.stop()
	limit, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	var gone error
	for i := range statuses {
		s, late, err := waitUntil(ctx, limit, client, statuses[i])
		statuses[i] = asSent(s, statuses[i])
		if err != nil && ctx.Err() == nil {
			return err
		}
		if ctx.Err() != nil {
			break
		}
		gone = late
		bar.done()
	}
	bar.stop()
	count := map[ack.Stage]int{}
	open := 0
	for _, s := range statuses {
		count[s.Stage]++
		if !s.Settled {
			open++
		}
	}
	if ctx.Err() != nil {
		return &exitError{exitInterrupted, fmt.Errorf("interrupted; all %d commands are queued, %d are not known to be settled, and go on", len(statuses), open)}
	}
	if c.json() {
		if err := printJSON(statuses); err != nil {
			return err
		}
	} else {
		t := newTable(os.Stdout, "no commands", "outcome", "commands")
		for _, stage := range slices.Sorted(maps.Keys(count)) {
			t.add(stage, count[stage])
		}
		if err := t.Render(); err != nil {
			return err
		}
	}
	switch bad := len(statuses) - count[ack.Succeeded]; {
	case bad > open:
		return failed("%d of %d commands did not succeed", bad-open, len(statuses))
	case open > 0:
		return &exitError{exitTimeout, fmt.Errorf("%d of %d commands are not known to be settled after %s, and go on; the last: %w", open, len(statuses), c.Wait, gone)}
	}
	return nil
}
