package bench

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// lossy is a TCP relay over a network that loses packets. TCP loses nothing by that, but time: a packet that was lost
// is there one retransmission timeout later, twice that if it is lost again, and holds up all that is behind it. A
// real TCP is sooner where enough is behind a lost packet for the other end to complain, which commands, being
// short and few, are seldom followed by.
type lossy struct {
	listener net.Listener
	to       string
	loss     float64       // of packets, each way
	timeout  time.Duration // of retransmission
	done     chan struct{}
	running  sync.WaitGroup

	mu    sync.Mutex
	rng   *rand.Rand
	ended bool
	conns []net.Conn
}

const (
	packetSize  = 1460
	retransmit  = 200 * time.Millisecond // Linux's least, on top of the time there and back
	retransmits = 6                      // of one packet: then it passes
	relayBuffer = 16 << 10
)

func newLossy(to string, loss float64, thereAndBack time.Duration, seed uint64) (*lossy, error) {
	l, err := net.Listen("tcp", anyPort) //nolint:noctx // loopback
	if err != nil {
		return nil, err
	}
	p := &lossy{
		listener: l, to: to, loss: loss, timeout: retransmit + thereAndBack,
		done: make(chan struct{}), rng: rand.New(rand.NewPCG(seed, 0)),
	}
	p.running.Go(p.accept)
	return p, nil
}

func (p *lossy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *lossy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.to) //nolint:noctx // loopback
	if err != nil {
		return
	}
	defer server.Close()
	if !p.keep(client, server) {
		return
	}
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		p.running.Go(func() {
			p.copy(way[0], way[1])
			ended <- struct{}{}
		})
	}
	<-ended
}

// keep has close end connections; false: it is too late.
func (p *lossy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, conns...)
	return !p.ended
}

func (p *lossy) copy(from, to net.Conn) {
	b := make([]byte, relayBuffer)
	for {
		n, err := from.Read(b)
		if n > 0 && p.pass(n) {
			_, failed := to.Write(b[:n])
			if err == nil {
				err = failed
			}
		}
		if err != nil {
			return
		}
	}
}

// late is by how much n bytes are.
func (p *lossy) late(n int) (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range (n + packetSize - 1) / packetSize {
		timeout := p.timeout
		for range retransmits {
			if p.rng.Float64() >= p.loss {
				break
			}
			wait += timeout
			timeout *= 2
		}
	}
	return wait
}

// pass returns when n bytes have arrived; false: the relay has ended before.
func (p *lossy) pass(n int) bool {
	wait := p.late(n)
	if wait == 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.done:
		return false
	}
}

func (p *lossy) close() {
	p.mu.Lock()
	p.ended = true
	close(p.done)
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.listener.Close()
	p.running.Wait()
}
