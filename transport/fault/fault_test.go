package fault_test

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that says what it hears, behind a proxy.
func echo(t *testing.T) *fault.Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	p, err := fault.NewProxy(l.Addr().String(), 1)
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

func connect(t *testing.T, p *fault.Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// say says something and returns what comes back until the end, or n bytes.
func say(t *testing.T, c net.Conn, s string, n int) (string, error) {
	t.Helper()
	_, err := io.WriteString(c, s)
	require.NoError(t, err)
	b := make([]byte, n)
	got, err := io.ReadFull(c, b)
	return string(b[:got]), err
}

func TestProxyPassesOn(t *testing.T) {
	t.Parallel()
	p := echo(t)
	c := connect(t, p)
	got, err := say(t, c, "hello", 5)
	require.NoError(t, err)
	require.Equal(t, "hello", got)
	require.Equal(t, 1, p.Accepted())
	require.Equal(t, 1, p.Open())
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return p.Open() == 0 }, time.Minute, time.Millisecond)
	require.Equal(t, 1, p.Accepted())
}

func TestProxyCutsInTheMiddle(t *testing.T) {
	t.Parallel()
	p := echo(t)
	c := connect(t, p)
	p.CutAfter(fault.ToClient, 8)
	got, err := say(t, c, "hello", 5)
	require.NoError(t, err)
	require.Equal(t, "hello", got)
	got, err = say(t, c, "world", 5)
	require.Error(t, err)
	require.Equal(t, "wor", got)
	got, err = say(t, connect(t, p), "again", 5)
	require.NoError(t, err, "once only")
	require.Equal(t, "again", got)
}

func TestProxyEndsConnections(t *testing.T) {
	t.Parallel()
	p := echo(t)
	for _, end := range []struct {
		do func()
		is error
	}{{p.Cut, io.EOF}, {p.Reset, syscall.ECONNRESET}} {
		c := connect(t, p)
		_, err := say(t, c, "hello", 5)
		require.NoError(t, err)
		end.do()
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, end.is)
	}
	p.Refuse(true)
	c := connect(t, p)
	_, err := c.Read(make([]byte, 1))
	require.Error(t, err)
	p.Refuse(false)
	_, err = say(t, connect(t, p), "hello", 5)
	require.NoError(t, err)
}

// A black hole swallows without a sign; what it has swallowed never arrives, and its connection ends
// when the network is back.
func TestProxyBlackHole(t *testing.T) {
	t.Parallel()
	p := echo(t)
	open, idle := connect(t, p), connect(t, p)
	for _, c := range []net.Conn{open, idle} {
		_, err := say(t, c, "hello", 5)
		require.NoError(t, err)
	}
	p.BlackHole(true)
	for _, c := range []net.Conn{open, connect(t, p)} {
		require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		_, err := say(t, c, "hello", 5)
		require.ErrorContains(t, err, "i/o timeout")
		require.NoError(t, c.SetReadDeadline(time.Time{}))
	}
	p.BlackHole(false)
	_, err := open.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = say(t, idle, "hello", 5)
	require.NoError(t, err, "it lost nothing")
}

func TestProxyDelays(t *testing.T) {
	t.Parallel()
	p := echo(t)
	c := connect(t, p)
	p.Latency(10*time.Millisecond, 10*time.Millisecond)
	began := time.Now()
	_, err := say(t, c, "hello", 5)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(began), 20*time.Millisecond, "both ways")
	p.Latency(0, 0)
	p.Throttle(1000)
	began = time.Now()
	_, err = say(t, c, "0123456789", 10)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(began), 20*time.Millisecond, "ten milliseconds each way")
	p.Latency(time.Hour, 0)
	_, err = io.WriteString(c, "hello")
	require.NoError(t, err)
	require.NoError(t, p.Close(), "it does not wait for what is delayed")
}

// wrapped is a controller with a command for vm-1, behind faults.
func wrapped(t *testing.T, p fault.Plan, inner ...func(transport.Transport) transport.Transport) (*fault.Transport, *controller.Receipt) {
	t.Helper()
	c := controller.New(memory.New(), controller.Options{})
	t.Cleanup(func() { c.Close() })
	cmd, err := command.New(command.Drain{}, command.Options{})
	require.NoError(t, err)
	r, err := c.Send(t.Context(), "vm-1", cmd)
	require.NoError(t, err)
	var to transport.Transport = c
	for _, wrap := range inner {
		to = wrap(to)
	}
	return fault.New(to, p), r
}

var hello = transport.Hello{VM: "vm-1", Instance: "i-1"}

// Each fault does what it says, and none of them breaks the contract of a link: what is lost is lost
// with its end.
func TestFaults(t *testing.T) {
	t.Parallel()

	f, _ := wrapped(t, fault.Plan{DialFails: 1})
	_, err := f.Dial(t.Context(), hello)
	require.ErrorIs(t, err, fault.ErrInjected)
	f.Heal()
	l, err := f.Dial(t.Context(), hello)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.Equal(t, fault.Counts{DialFails: 1}, f.Counts())

	for _, lost := range []bool{false, true} { // an ack whose link is cut before, or after, it took effect
		plan, stage := fault.Plan{Cut: 1}, ack.Queued
		if lost {
			plan, stage = fault.Plan{Lost: 1}, ack.Succeeded
		}
		f, r := wrapped(t, plan)
		l, err := f.Dial(t.Context(), hello)
		require.NoError(t, err)
		require.ErrorIs(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}), fault.ErrInjected)
		_, err = l.Receive(t.Context())
		require.ErrorIs(t, err, fault.ErrInjected)
		require.ErrorIs(t, l.Report(t.Context()), fault.ErrInjected)
		e, err := r.WaitFor(t.Context(), func(ledger.Entry) bool { return true })
		require.NoError(t, err)
		require.Equal(t, stage, e.State.Stage)
		require.NoError(t, l.Close())
	}

	f, r := wrapped(t, fault.Plan{Duplicate: 1})
	l, err = f.Dial(t.Context(), hello)
	require.NoError(t, err)
	for range 2 {
		page, err := l.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, r.ID(), page[0].ID)
	}
	f.CutAll()
	_, err = l.Receive(t.Context())
	require.ErrorIs(t, err, fault.ErrInjected)
	require.NoError(t, l.Close())

	f, _ = wrapped(t, fault.Plan{MaxDelay: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = f.Dial(ctx, hello)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// The same seed makes the same faults.
func TestSeed(t *testing.T) {
	t.Parallel()
	play := func(seed uint64) (outcome string) {
		f, _ := wrapped(t, fault.Plan{Seed: seed, DialFails: 0.5, Cut: 0.5})
		for range 64 {
			l, err := f.Dial(t.Context(), hello)
			if err == nil {
				err = errors.Join(l.Report(t.Context()), l.Close())
			}
			if err == nil {
				outcome += "."
			} else {
				outcome += "x"
			}
		}
		return outcome
	}
	require.Equal(t, play(1), play(1))
	require.NotEqual(t, play(1), play(2))
	require.Equal(t, "seed=7 dial-fails=0.5 cut=0 lost=0 duplicate=0 max-delay=1s", fault.Plan{Seed: 7, DialFails: 0.5, MaxDelay: time.Second}.String())
}
