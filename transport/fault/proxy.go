package fault

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Direction is one way through a Proxy.
type Direction int

// The directions.
const (
	ToServer Direction = iota
	ToClient
)

// Proxy is a TCP proxy on the loopback interface that misbehaves on demand. Its controls act on open
// connections and on those to come, may be used at any time, and are safe for concurrent use.
type Proxy struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu        sync.Mutex
	changed   sync.Cond // a control was used
	closed    bool
	conns     map[*conn]struct{}
	accepted  int
	rng       *rand.Rand
	latency   time.Duration
	jitter    time.Duration
	blackHole bool
	refuse    bool
	rate      int // bytes per second and direction; 0 is unlimited
	cutAfter  map[Direction]int
	limit     [2]int // by Direction; 0 is unlimited
}

// NewProxy listens on a free port of 127.0.0.1 and passes connections on to target. Seed is of the
// jitter.
func NewProxy(target string, seed uint64) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback; there is nothing to wait for
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		target:   target,
		listener: l,
		conns:    map[*conn]struct{}{},
		rng:      rand.New(rand.NewPCG(seed, 0)),
		cutAfter: map[Direction]int{},
	}
	p.changed.L = &p.mu
	p.running.Go(p.accept)
	return p, nil
}

// Addr is where to connect: host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Accepted counts the connections so far.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Open counts the connections that are open.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// Latency delays every chunk by d and up to jitter more.
func (p *Proxy) Latency(d, jitter time.Duration) {
	p.set(func() { p.latency, p.jitter = d, jitter })
}

// Throttle bounds each direction of each connection; 0 lifts the bound.
func (p *Proxy) Throttle(bytesPerSecond int) { p.set(func() { p.rate = bytesPerSecond }) }

// BlackHole freezes open connections, without a sign to either end, and lets new ones connect and
// hear nothing. What was swallowed is not delivered later: turning it off resets the connections that
// lost something.
func (p *Proxy) BlackHole(on bool) { p.set(func() { p.blackHole = on }) }

// Mute swallows, without a sign to either end, all that comes in a direction of the connections that are open. New ones are
// not concerned.
func (p *Proxy) Mute(d Direction) {
	p.set(func() {
		for c := range p.conns {
			c.mute[d] = true
		}
	})
}

// Limit ends each connection that is to carry more than n bytes at once in a direction; 0 lifts the bound. A burst of more
// than 16 KiB is looked at in parts of that.
func (p *Proxy) Limit(d Direction, n int) { p.set(func() { p.limit[d] = n }) }

// Refuse ends new connections at once.
func (p *Proxy) Refuse(on bool) { p.set(func() { p.refuse = on }) }

// CutAfter cuts the connection that is the next to have carried n more bytes in a direction, in the
// middle of whatever that is.
func (p *Proxy) CutAfter(d Direction, n int) { p.set(func() { p.cutAfter[d] = n }) }

// Cut closes every open connection.
func (p *Proxy) Cut() { p.end(false) }

// Reset ends every open connection with a TCP reset.
func (p *Proxy) Reset() { p.end(true) }

// Close ends the proxy and its connections, and waits for its goroutines.
func (p *Proxy) Close() error {
	p.set(func() { p.closed = true })
	err := p.listener.Close()
	p.Cut()
	p.running.Wait()
	return err
}

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

func (p *Proxy) end(reset bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.end(reset)
	}
	p.changed.Broadcast() // a frozen connection sees its end
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.accepted++
		refuse := p.refuse || p.closed
		p.mu.Unlock()
		if refuse {
			client.Close()
			continue
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target) //nolint:noctx // loopback; ends at once either way
	if err != nil {
		client.Close()
		return
	}
	c := &conn{client: client, server: server, done: make(chan struct{})}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		c.end(false)
		return
	}
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(c, ToServer, server, client) })
	both.Go(func() { p.copy(c, ToClient, client, server) })
	both.Wait()
	c.end(false)
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// chunk is some bytes on their way.
type chunk struct {
	bytes   []byte
	arrived time.Time
}

// onTheWay is how many chunks a slow network holds in one direction: the next sets out before one has come.
const onTheWay = 64

// copy passes bytes on until either end closes; the end of one direction ends the other.
func (p *Proxy) copy(c *conn, d Direction, dst, src net.Conn) {
	chunks := make(chan chunk, onTheWay)
	var reading sync.WaitGroup
	var failed error
	reading.Go(func() {
		defer close(chunks)
		failed = c.read(src, chunks)
	})
	for b := range chunks {
		if !p.pass(c, d, dst, b) {
			c.end(false)
			break
		}
	}
	reading.Wait()
	c.end(failed != nil)
}

// read returns nil at the end of src.
func (c *conn) read(src net.Conn, chunks chan<- chunk) error {
	buf := make([]byte, 16<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			select {
			case chunks <- chunk{bytes.Clone(buf[:n]), time.Now()}:
			case <-c.done:
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// pass delivers a chunk as the controls want it, and says whether the connection goes on.
func (p *Proxy) pass(c *conn, d Direction, dst net.Conn, ch chunk) bool {
	b := ch.bytes
	p.mu.Lock()
	if p.blackHole {
		for p.blackHole && !p.closed && !c.ended() {
			p.changed.Wait()
		}
		p.mu.Unlock()
		c.end(true)
		return false
	}
	if most := p.limit[d]; most > 0 && len(b) > most {
		p.mu.Unlock()
		return false
	}
	if c.mute[d] {
		b = nil
	}
	wait := time.Until(ch.arrived.Add(p.latency))
	if p.jitter > 0 {
		wait += time.Duration(p.rng.Int64N(int64(p.jitter)))
	}
	if p.rate > 0 {
		wait += time.Duration(len(b)) * time.Second / time.Duration(p.rate)
	}
	cut := false
	if left, ok := p.cutAfter[d]; ok {
		if cut = len(b) >= left; cut {
			b = b[:left]
			delete(p.cutAfter, d)
		} else {
			p.cutAfter[d] = left - len(b)
		}
	}
	p.mu.Unlock()
	if wait > 0 {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.done:
			timer.Stop()
			return false
		}
	}
	if _, err := dst.Write(b); err != nil {
		return false
	}
	return !cut
}

// conn is one connection through the proxy.
type conn struct {
	client, server net.Conn
	once           sync.Once
	done           chan struct{}
	mute           [2]bool // by Direction; guarded by Proxy.mu
}

func (c *conn) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *conn) end(reset bool) {
	c.once.Do(func() {
		if reset {
			for _, side := range []net.Conn{c.client, c.server} {
				if tcp, ok := side.(*net.TCPConn); ok {
					_ = tcp.SetLinger(0) // at worst it ends politely
				}
			}
		}
		close(c.done)
		c.client.Close()
		c.server.Close()
	})
}
