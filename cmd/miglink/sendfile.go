package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"golang.org/x/sync/errgroup"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

const (
	maxLine = 2 * command.MaxParameters
	senders = 32
)

// readLines reads and validates all commands of a file; a bad line is named by its number.
func readLines(name string) ([]admin.Send, error) {
	in := os.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	var list []admin.Send
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		var s admin.Send
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, fmt.Errorf("%s line %d: not a JSON object with vm_id, type and parameters: %w", name, n, err)
		}
		cmd, err := s.Command()
		if err == nil {
			err = transport.ValidateVM(s.VM)
		}
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %w", name, n, err)
		}
		s.ID = cmd.ID // so that sending it again does not do it twice
		list = append(list, s)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s line %d: %w", name, n+1, err)
	}
	return list, nil
}

func (c *sendCmd) sendFile(ctx context.Context) error {
	list, err := readLines(c.File)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	bar := newBar("sending", len(list))
	defer bar.stop()
	statuses := make([]admin.Status, len(list))
	lanes := byVM(list)
	var g errgroup.Group
	g.SetLimit(senders)
	for _, lane := range lanes {
		g.Go(func() error { // the lines of one VM in their order
			for _, i := range lane {
				s, err := client.Send(ctx, list[i])
				if err != nil {
					return fmt.Errorf("%s for %s: %w", list[i].ID, list[i].VM, err)
				}
				statuses[i] = s
				bar.done()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	bar.stop()
	if c.Wait > 0 {
		return c.waitAll(ctx, client, statuses)
	}
	if c.json() {
		return printJSON(statuses)
	}
	fmt.Printf("%d commands queued for %d VMs\n", len(list), len(lanes))
	return nil
}

func byVM(list []admin.Send) map[string][]int {
	lanes := map[string][]int{}
	for i, s := range list {
		lanes[s.VM] = append(lanes[s.VM], i)
	}
	return lanes
}

// waitAll waits for every outcome, and fails by the worst.
func (c *sendCmd) waitAll(ctx context.Context, client *admin.Client, statuses []admin.Status) error {
	bar := newBar("waiting", len(statuses))
	defer bar.stop()
	limit, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	for i := range statuses {
		s, err := client.Wait(limit, statuses[i].ID)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if s.ID != "" {
			statuses[i] = s
		}
		bar.done()
	}
	bar.stop()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	count := map[ack.Stage]int{}
	open := 0
	for _, s := range statuses {
		count[s.Stage]++
		if !s.Settled {
			open++
		}
	}
	if c.json() {
		if err := printJSON(statuses); err != nil {
			return err
		}
	} else {
		t := newTable(os.Stdout, "outcome", "commands")
		for stage, n := range count {
			t.AppendRow([]any{stage, n})
		}
		t.Render()
	}
	switch bad := len(statuses) - count[ack.Succeeded]; {
	case bad > open:
		return failed("%d of %d commands did not succeed", bad-open, len(statuses))
	case open > 0:
		return &exitError{exitTimeout, fmt.Errorf("%d of %d commands are not settled after %s; they go on", open, len(statuses), c.Wait)}
	}
	return nil
}

// bar is a progress bar, where somebody looks.
type bar struct {
	writer  progress.Writer // nil: nobody does
	tracker *progress.Tracker
}

func newBar(what string, total int) *bar {
	if !terminal(os.Stderr) {
		return &bar{}
	}
	b := &bar{writer: progress.NewWriter(), tracker: &progress.Tracker{Message: what, Total: int64(total)}}
	b.writer.SetOutputWriter(os.Stderr)
	b.writer.SetUpdateFrequency(100 * time.Millisecond)
	b.writer.SetAutoStop(false)
	b.writer.AppendTracker(b.tracker)
	go b.writer.Render()
	return b
}

func (b *bar) done() {
	if b.writer != nil {
		b.tracker.Increment(1)
	}
}

func (b *bar) stop() {
	if b.writer != nil {
		b.writer.Stop()
		b.writer = nil
	}
}
