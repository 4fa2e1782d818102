package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"

	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/nats"
	"github.com/miglink/miglink/transport/rabbitmq"
	"github.com/miglink/miglink/transport/redis"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/ws"
)

var registry = transport.Registry{
	{Name: "ws", Open: ws.Open},
	{Name: "sse", Open: sse.Open},
	{Name: "longpoll", Open: longpoll.Open},
	{Name: "grpc", Open: grpc.Open},
	{Name: "nats", Open: nats.Open},
	{Name: "redis", Open: redis.Open},
	{Name: "rabbitmq", Open: rabbitmq.Open},
}

// agentsTask is to be the other ends, of one kind: those of so many VMs from the first on.
type agentsTask struct {
	Kind  string `json:"kind"`
	At    place  `json:"at"`
	First int    `json:"first,omitempty"`
	Count int    `json:"count"`
	Tell  bool   `json:"tell,omitempty"` // say which commands run
}

// agents are the process of such a task, and what is between them and their controller.
type agents struct {
	*child
	between cleanup
}

// startAgents starts n of a kind, which dial what is at once they are released.
func (o *Options) startAgents(kind string, at place, n int) (*agents, error) {
	return o.startSome(agentsTask{Kind: kind, At: at, Count: n}, nil)
}

func (o *Options) startSome(t agentsTask, hear func(line string)) (*agents, error) {
	a := &agents{}
	err := o.slowDown(&t.At, &a.between)
	if err == nil {
		a.child, _, err = o.startChild(t.Kind, task{Agents: &t}, hear)
	}
	if err != nil {
		a.between.run()
		return nil, err
	}
	return a, nil
}

// release has them dial.
func (a *agents) release() error { return a.tell("dial") }

func (a *agents) close() {
	a.child.close()
	a.between.run()
}

// slowDown puts the network that was asked for in front of a place.
func (o *Options) slowDown(at *place, clean *cleanup) error {
	if o.Delay == 0 && o.Jitter == 0 && o.Loss == 0 {
		return nil
	}
	u, err := url.Parse(at.URL)
	if err != nil {
		return errors.New("a broker's URL is none") // it may hold a password
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), map[string]string{"redis": "6379", "amqp": "5672"}[u.Scheme])
	}
	if o.Delay > 0 || o.Jitter > 0 {
		slow, err := fault.NewProxy(u.Host, o.Seed)
		if err != nil {
			return err
		}
		clean.add(func() { slow.Close() })
		slow.Latency(o.Delay, o.Jitter)
		u.Host = slow.Addr()
	}
	if o.Loss > 0 {
		p, err := newLossy(u.Host, o.Loss, 2*(o.Delay+o.Jitter), o.Seed)
		if err != nil {
			return err
		}
		clean.add(p.close)
		u.Host = p.listener.Addr().String()
	}
	at.URL = u.String()
	return nil
}

func (t *agentsTask) run() error {
	run, ours := t.bare(), false
	if run == nil {
		if !slices.Contains(Transports(), t.Kind) {
			return fmt.Errorf("there is no transport %q", t.Kind)
		}
		run, ours = t.real, true
	}
	if _, err := fmt.Println("ready"); err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, t.Count)
	for i := range t.Count {
		go func() { ended <- run(ctx, t.First+i) }()
	}
	over := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, in)
		over <- err
	}()
	select {
	case err := <-ended:
		return err
	case err := <-over:
		stop()
		for range t.Count {
			if ours && err == nil { // they say goodbye, to a broker, too
				err = <-ended
			}
		}
		return err
	}
}

// bare returns how to run the other end of a bare loop, or nil.
func (t *agentsTask) bare() func(ctx context.Context, i int) error {
	run := bareAgents[t.Kind]
	if run == nil {
		return nil
	}
	return func(_ context.Context, i int) error { return run(t.At.URL, i) }
}

// real runs an agent of ours.
func (t *agentsTask) real(ctx context.Context, i int) error {
	tr, err := registry.Open(t.Kind, transport.Config{URL: t.At.URL, Broker: t.At.URL, Prefix: t.At.Prefix, Token: t.At.token(), Insecure: t.At.Insecure})
	if err != nil {
		return err
	}
	a, err := agent.New(tr, agent.Options{VM: t.At.vm(i)})
	if err != nil {
		return err
	}
	agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.UpdateConfig) (any, error) {
		if t.Tell {
			say(wordRan, job.Command().ID)
		}
		return nil, nil
	}, agent.Policy{})
	return a.Run(ctx)
}

func vmName(i int) string { return "vm-" + strconv.Itoa(i) }
