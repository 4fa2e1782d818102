// Package inbox is how an agent's link hands on what it reads from the network: to whoever wants to be called, by
// the goroutine that reads, or to who waits in Receive.
package inbox

import (
	"sync"

	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
)

// Loop reads a link, one goroutine at a time.
type Loop struct {
	next func() ([]transport.Delivery, error)
	take func([]transport.Delivery) error
	over func(error)

	beginning sync.Once
	reading   sync.WaitGroup // of one, which a goroutine that stops to read passes on to the next

	mu   sync.Mutex
	turn int // counts the calls of take
	lent int // the turn whose goroutine comes back to read
}

// Set says what to do: next returns the next page, which may be empty, take has each that is not, and over is
// called once, with the first error of either.
func (l *Loop) Set(next func() ([]transport.Delivery, error), take func([]transport.Delivery) error, over func(error)) {
	l.next, l.take, l.over = next, take, over
	l.reading.Add(1)
}

// Begin has the link read, from the first call on: who wants to be called has said so by then.
func (l *Loop) Begin() { l.beginning.Do(func() { go l.read() }) }

// End waits, once next returns an error, until nobody reads any more.
func (l *Loop) End() {
	l.Begin()
	l.reading.Wait()
}

// ReadOn has another goroutine read while one is in take, which is the caller's from then on.
func (l *Loop) ReadOn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lent != 0 {
		l.lent = 0
		go l.read()
	}
}

func (l *Loop) read() {
	for {
		page, err := l.readPage()
		mine := true
		if err == nil && len(page) > 0 {
			mine, err = l.hand(page)
		}
		if !mine {
			return
		}
		if err != nil {
			l.over(err)
			l.reading.Done()
			return
		}
	}
}

// readPage reads a page. What a controller says must not end an agent's process.
func (l *Loop) readPage() (page []transport.Delivery, err error) {
	err = safely.Do(func() error {
		page, err = l.next()
		return err
	})
	return page, err
}

// hand has a page taken, and returns false where another goroutine reads by then.
func (l *Loop) hand(page []transport.Delivery) (mine bool, err error) {
	l.mu.Lock()
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
	err = l.take(page)
	returned = true
	l.mu.Lock()
	defer l.mu.Unlock()
	mine = l.lent == turn
	if mine {
		l.lent = 0
	}
	return mine, err
}
