package framed

import "github.com/miglink/miglink/transport"

// Deliver implements transport.Direct.
func (l *link) Deliver(take func([]transport.Delivery)) { l.take = take }

// ReadOn implements transport.Direct.
func (l *link) ReadOn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lent != 0 {
		l.lent = 0
		go l.read()
	}
}

// read hands frames to those who wait for them until the link ends, or another goroutine reads on.
func (l *link) read() {
	for {
		f, err := l.recv()
		var answered []*ackCall
		if err == nil {
			answered, err = l.handle(f)
		}
		for _, c := range answered {
			c.done(c.err)
		}
		if err != nil {
			l.over(err)
			l.reading.Done()
			return
		}
		if l.take != nil && len(f.Commands) > 0 && !l.deliver() {
			return
		}
	}
}

// deliver has the deliveries taken, and returns false where another goroutine reads by then.
func (l *link) deliver() bool {
	l.mu.Lock()
	page := l.deliveries
	l.deliveries = nil
	l.turn++
	turn := l.turn
	l.lent = turn
	l.mu.Unlock()
	returned := false
	defer func() {
		if !returned { // by runtime.Goexit, or a panic
			l.ReadOn()
		}
	}()
	l.take(page)
	returned = true
	l.mu.Lock()
	defer l.mu.Unlock()
	back := l.lent == turn
	if back {
		l.lent = 0
	}
	return back
}
