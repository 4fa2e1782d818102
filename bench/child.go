package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// task is what another process of a run is to do, as JSON the argument that is added to Options.Program.
type task struct {
	Agents     *agentsTask     `json:"agents,omitempty"`
	Controller *controllerTask `json:"controller,omitempty"`
}

// RunChild is a process that Options.Program starts, with the one argument that is added to it. It ends with
// its standard input.
func RunChild(argument string) error {
	var t task
	if err := json.Unmarshal([]byte(argument), &t); err != nil {
		return fmt.Errorf("the task of a process: %w", err)
	}
	if file := os.Getenv(profileEnv); file != "" {
		stop, err := profile(file)
		if err != nil {
			return err
		}
		defer stop()
	}
	switch {
	case t.Agents != nil:
		return t.Agents.run()
	case t.Controller != nil:
		return t.Controller.run()
	}
	return errors.New("a process without a task")
}

// child is such a process.
type child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser // its end is the child's
	closed atomic.Bool
	ended  chan struct{}
}

// readyTime is how long one may take to start, and endTime to end.
const (
	readyTime = 30 * time.Second
	endTime   = 2 * time.Second
)

// startChild returns once a child has said its first line, which begins with "ready"; hear gets the lines
// after that, and may be nil. If the child ends by itself, the run does.
func (o *Options) startChild(name string, t task, hear func(line string)) (_ *child, ready string, err error) {
	argument, err := json.Marshal(t)
	if err != nil {
		return nil, "", err
	}
	args := append(append([]string(nil), o.Program[1:]...), string(argument))
	cmd := exec.Command(o.Program[0], args...) //nolint:noctx // ended by close
	var says bytes.Buffer
	cmd.Stderr = &says
	cmd.Env = os.Environ()
	if o.Profile != "" {
		cmd.Env = append(cmd.Env, profileEnv+"="+filepath.Join(o.Profile, name+".pprof"))
	}
	if o.OneCPU {
		cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, "", err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	c := &child{cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	first := make(chan string, 1)
	go func() {
		defer close(c.ended)
		lines := bufio.NewScanner(stdout)
		lines.Scan()
		first <- lines.Text()
		for lines.Scan() {
			if hear != nil {
				hear(lines.Text())
			}
		}
		_ = cmd.Wait() // its state says how it ended
		if !c.closed.Load() {
			o.fail(fmt.Errorf("the process of %s has ended, %s: %s", name, cmd.ProcessState, strings.TrimSpace(says.String())))
		}
	}()
	select {
	case ready = <-first:
		if !strings.HasPrefix(ready, "ready") {
			err = errors.New("it is not ready")
		}
	case <-time.After(readyTime):
		err = errors.New("it is not ready in time")
	}
	if err != nil {
		c.close()
		return nil, "", fmt.Errorf("start %s: %w: %s", name, err, strings.TrimSpace(says.String()))
	}
	return c, ready, nil
}

// tell says a line to it.
func (c *child) tell(line string) error {
	_, err := io.WriteString(c.stdin, line+"\n")
	return err
}

// close has it end, and waits until all that it said was heard.
func (c *child) close() {
	c.closed.Store(true)
	c.stdin.Close()
	select {
	case <-c.ended:
	case <-time.After(endTime):
		c.kill()
	}
}

// kill ends it as nothing can prevent.
func (c *child) kill() {
	c.closed.Store(true)
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.ended
}
