package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// agents are the other ends of a peer, in a process of their own.
type agents struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser // its end is theirs
	closed atomic.Bool
	ended  chan struct{}
}

// endTime is how long they may take to end.
const endTime = 2 * time.Second

// startAgents starts them. If they end by themselves, the run does.
func (l *loop) startAgents(o *options, url string) error {
	cmd := exec.Command(o.program, "agents", l.Name, url, strconv.Itoa(o.VMs)) //nolint:noctx // ended by close
	var says bytes.Buffer
	cmd.Stderr = &says
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	a := &agents{cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	l.agents = a
	go func() {
		defer close(a.ended)
		_ = cmd.Wait() // its state says how it ended
		if !a.closed.Load() {
			o.fail(fmt.Errorf("the agents of %s have ended, %s: %s", l.Name, cmd.ProcessState, strings.TrimSpace(says.String())))
		}
	}()
	return nil
}

func (a *agents) close() {
	a.closed.Store(true)
	a.stdin.Close()
	select {
	case <-a.ended:
	case <-time.After(endTime):
		_ = a.cmd.Process.Kill() // it may have ended
		<-a.ended
	}
}

// agentsCmd is the process of agents. It ends with its standard input.
type agentsCmd struct {
	Peer  string `arg:""`
	URL   string `arg:""`
	Count int    `arg:""`
}

func (c *agentsCmd) Run() error {
	for _, p := range peers {
		if p.Name == c.Peer {
			return c.run(p)
		}
	}
	return fmt.Errorf("there is no peer %q", c.Peer)
}

func (c *agentsCmd) run(p *peer) error {
	ended := make(chan error, c.Count+1)
	for i := range c.Count {
		go func() { ended <- p.agent(c.URL, i) }()
	}
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	return <-ended
}
