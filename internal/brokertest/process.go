package brokertest

import (
	"bytes"
	"net"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startTime is how long a server may take until it listens.
const startTime = time.Minute

// FreeAddr is an address of the loopback that nobody listens on.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// Process is a server that can be killed and started again.
type Process struct {
	Addr    string // what it listens on
	t       testing.TB
	command func() *exec.Cmd
	cmd     *exec.Cmd
	out     *output
}

// output keeps what a process prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Start starts the server that command describes, which listens on addr, and kills it after the test.
func Start(t testing.TB, addr string, command func() *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Addr: addr, t: t, command: command}
	t.Cleanup(p.Kill)
	p.Start()
	return p
}

// Start starts it again, and returns when it accepts connections.
func (p *Process) Start() {
	p.t.Helper()
	p.cmd, p.out = p.command(), &output{}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	inGroup(p.cmd) // it may have children
	require.NoError(p.t, p.cmd.Start())
	for deadline := time.Now().Add(startTime); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", p.Addr) //nolint:noctx // loopback
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the server does not listen on %s: %v\n%s", p.Addr, err, p.out)
		}
	}
}

// Kill ends it as kill -9 does.
func (p *Process) Kill() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	killGroup(p.cmd)
	_ = p.cmd.Wait() // how it ended says nothing
	p.cmd = nil
}
