package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// hello is the frame of a VM with a token.
func hello(vm, token string) []byte {
	return fmt.Appendf(nil, `{"n":1,"hello":{"version":1,"vm_id":%q,"instance":"i","token":%q}}`, vm, token)
}

// onlyGood lets those pass whose token is "good", and counts who was asked.
type onlyGood struct{ asked atomic.Int64 }

func (o *onlyGood) Authenticate(_ context.Context, _ string, c transport.Credentials) (transport.Grant, error) {
	o.asked.Add(1)
	if c.Token != "good" {
		return transport.Grant{}, transport.Errorf(transport.CodeUnauthorized, "no")
	}
	return transport.Grant{}, nil
}

// inServer runs a test of a server in front of a controller, under fake time.
func inServer(t *testing.T, test func(t *testing.T, s *broker.Server, o *onlyGood, c *controller.Controller)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		o := &onlyGood{}
		s := broker.NewServer(c, broker.ServerOptions{Name: "mq", Authenticator: o})
		defer s.Close()
		test(t, s, o, c)
	})
}

// say has a server take a hello, and returns what it says; nil where the hello was dropped.
func say(s *broker.Server, vm, token string, o broker.PipeOptions) *wire {
	b := hello(vm, token)
	r := s.Greet(vm, len(b))
	if r == nil {
		return nil
	}
	w := &wire{}
	p := w.pipeWith(o)
	p.Deliver(b)
	s.Serve(r, p, broker.Hello{VM: vm})
	return w
}

func (w *wire) pipeWith(o broker.PipeOptions) *broker.Pipe {
	o.Name, o.Guarded = "mq", true
	o.Publish = func(_ context.Context, b []byte) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sent = append(w.sent, string(b))
		return nil
	}
	o.Release = func() {}
	return broker.NewPipe(o)
}

func (w *wire) all() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.sent, "\n")
}

// So many hellos are answered at a time, so many bytes of them, and so many that name one VM.
func TestGreet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := broker.NewServer(nil, broker.ServerOptions{Name: "mq"})
		defer s.Close()
		fill := func(bytes int, name func(i int) string) (all []*broker.Greeting) {
			for {
				r := s.Greet(name(len(all)), bytes)
				if r == nil {
					return all
				}
				all = append(all, r)
			}
		}
		drop := func(all []*broker.Greeting) {
			for _, r := range all {
				r.Drop()
			}
		}
		each := func(i int) string { return fmt.Sprint("vm-", i) }

		all := fill(100, each)
		require.Len(t, all, 8192)
		drop(all[:1])
		more := fill(100, each)
		require.Len(t, more, 1, "one was given back, once")
		drop(append(all[1:], more...))
		require.Len(t, fill(100, each), 8192)
	})
	synctest.Test(t, func(t *testing.T) {
		s := broker.NewServer(nil, broker.ServerOptions{Name: "mq"})
		defer s.Close()
		n := 0
		for ; s.Greet(fmt.Sprint("vm-", n), framed.MaxHello) != nil; n++ {
		}
		require.Equal(t, 1024, n, "64 MiB")
		require.NotNil(t, s.Greet("vm-x", 1<<20), "what is too large is not kept")
	})
	synctest.Test(t, func(t *testing.T) {
		s := broker.NewServer(nil, broker.ServerOptions{Name: "mq"})
		defer s.Close()
		n := 0
		for ; s.Greet("vm-1", 100) != nil; n++ {
		}
		require.Equal(t, 16, n)
		require.NotNil(t, s.Greet("vm-2", 100), "another has its own places")
	})
}

// Strangers by the thousand, in many names and in one, are refused at a bounded rate, and the VMs in whose names they
// come are let in beside them, at the latest when it is their turn.
func TestStrangersShutNobodyOut(t *testing.T) {
	t.Parallel()
	inServer(t, func(t *testing.T, s *broker.Server, o *onlyGood, c *controller.Controller) {
		told, dropped := []*wire{}, 0
		flood := func(n int) {
			for i := range n {
				if w := say(s, fmt.Sprint("vm-", i%1000), "bad", broker.PipeOptions{}); w != nil {
					told = append(told, w)
				} else {
					dropped++
				}
			}
		}
		flood(50_000)
		synctest.Wait()
		require.EqualValues(t, 2048, o.asked.Load(), "so many are looked at at once")
		for range 5 {
			time.Sleep(time.Second)
			flood(50_000)
			synctest.Wait()
		}
		require.LessOrEqual(t, o.asked.Load(), int64(2048*6))
		require.Positive(t, dropped)

		// The flood goes on, and says hello as vm-1 a thousand times for each time that it does itself.
		began := time.Now()
		linked := func() bool {
			p, ok := c.Presence("vm-1")
			return ok && p.Attached
		}
		for !linked() {
			require.Less(t, time.Since(began), time.Minute, "vm-1 is shut out")
			say(s, "vm-1", "good", broker.PipeOptions{})
			for range 1000 {
				say(s, "vm-1", "bad", broker.PipeOptions{})
			}
			synctest.Wait()
			time.Sleep(100 * time.Millisecond)
		}
		for _, w := range told {
			require.NotContains(t, w.all(), "welcome")
		}
	})
}

// What a VM with good credentials has refused to it is bounded for that VM alone; links that open are free.
func TestFailingIsBoundedPerVM(t *testing.T) {
	t.Parallel()
	inServer(t, func(t *testing.T, s *broker.Server, _ *onlyGood, _ *controller.Controller) {
		claims := 0
		dial := func(vm string, open func(context.Context) error) string {
			b := hello(vm, "good")
			r := s.Greet(vm, len(b))
			require.NotNil(t, r)
			w := &wire{}
			p := w.pipeWith(broker.PipeOptions{Open: open})
			p.Deliver(b)
			s.Serve(r, p, broker.Hello{VM: vm, Claim: func(context.Context) (bool, error) {
				claims++
				return true, nil
			}})
			synctest.Wait()
			said := w.all()
			p.Close()
			return said
		}
		fails := func(context.Context) error { return errors.New("the broker says no") }
		for range 150 {
			require.Contains(t, dial("vm-1", nil), "welcome")
		}
		claims = 0
		for range 150 {
			require.NotContains(t, dial("vm-1", fails), "welcome")
		}
		require.Equal(t, 100, claims, "nothing is made for the rest")
		require.Contains(t, dial("vm-1", nil), `"code":"rate_limited"`)
		require.Contains(t, dial("vm-2", nil), "welcome")
		time.Sleep(10 * time.Second)
		require.Contains(t, dial("vm-1", nil), "welcome")
	})
}

// Who has no claim to a hello says nothing at all, and opens no link of its VM.
func TestOnlyTheClaimantAnswers(t *testing.T) {
	t.Parallel()
	for name, claim := range map[string]func(context.Context) (bool, error){
		"another's": func(context.Context) (bool, error) { return false, nil },
		"failed":    func(context.Context) (bool, error) { return false, errors.New("no answer") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inServer(t, func(t *testing.T, s *broker.Server, _ *onlyGood, c *controller.Controller) {
				b := hello("vm-1", "good")
				w := &wire{}
				p := w.pipeWith(broker.PipeOptions{Open: func(context.Context) error {
					t.Error("it is opened")
					return nil
				}})
				p.Deliver(b)
				s.Serve(s.Greet("vm-1", len(b)), p, broker.Hello{VM: "vm-1", Claim: claim})
				synctest.Wait()
				_, known := c.Presence("vm-1")
				require.False(t, known)
				require.Empty(t, w.all())
				s.FailAll()()
				require.Empty(t, w.sent)
			})
		})
	}
}

// A pipe is opened after its VM was let in and before that is said; it is not when the VM is refused. What Release frees
// was made by then.
func TestOpenedWhenLetIn(t *testing.T) {
	t.Parallel()
	inServer(t, func(t *testing.T, s *broker.Server, _ *onlyGood, c *controller.Controller) {
		opened := 0
		open := func(context.Context) error {
			p, ok := c.Presence("vm-1")
			require.True(t, ok && p.Attached)
			opened++
			return nil
		}
		w := say(s, "vm-1", "bad", broker.PipeOptions{Open: open})
		synctest.Wait()
		require.Contains(t, w.all(), "unauthorized")
		require.Zero(t, opened)
		w = say(s, "vm-1", "good", broker.PipeOptions{Open: open})
		synctest.Wait()
		require.Contains(t, w.all(), "welcome")
		require.Equal(t, 1, opened)
	})
	synctest.Test(t, func(t *testing.T) {
		var order []string
		p := broker.NewPipe(broker.PipeOptions{
			Name: "mq", Guarded: true,
			Publish: func(context.Context, []byte) error { return nil },
			Open: func(ctx context.Context) error {
				<-ctx.Done()
				order = append(order, "made")
				return nil
			},
			Release: func() { order = append(order, "freed") },
		})
		trusted := make(chan error, 1)
		go func() { trusted <- p.Trust() }()
		synctest.Wait()
		p.Close()
		<-trusted
		synctest.Wait()
		require.Equal(t, []string{"made", "freed"}, order)
		require.EqualError(t, p.Trust(), "mq: the pipe is closed")
		require.Len(t, order, 2)
	})
}

// A broker that does not answer holds a hello for some seconds, and then its VM has no link.
func TestOpenThatHangs(t *testing.T) {
	t.Parallel()
	inServer(t, func(t *testing.T, s *broker.Server, _ *onlyGood, c *controller.Controller) {
		began := time.Now()
		ended := make(chan time.Duration, 1)
		say(s, "vm-1", "good", broker.PipeOptions{Open: func(ctx context.Context) error {
			<-ctx.Done()
			ended <- time.Since(began)
			return ctx.Err()
		}})
		require.Equal(t, 10*time.Second, <-ended)
		synctest.Wait()
		p, _ := c.Presence("vm-1")
		require.False(t, p.Attached)
	})
}
