package sse

import (
	"bytes"
	"fmt"
	"io"

	"github.com/tmaxmax/go-sse"

	"github.com/miglink/miglink/command"
)

const (
	maxEvent = 2*command.MaxParameters + 16<<10 // bytes; JSON of any parameters that fit
	minRead  = 4 << 10
	keptRead = 64 << 10 // the largest buffer that is kept for the next events
)

// events reads a stream, several events at a time where they have come together. Any goroutine may, one at a time.
type events struct {
	from   io.Reader
	unread []byte // what has come and is not parsed
	looked int    // so much of it holds no blank line
	lastID string
}

// fill waits for more of the stream.
func (e *events) fill() error {
	if cap(e.unread)-len(e.unread) < minRead/2 {
		e.unread = append(make([]byte, 0, max(minRead, 2*len(e.unread))), e.unread...)
	}
	n, err := e.from.Read(e.unread[len(e.unread):cap(e.unread)])
	e.unread = e.unread[:len(e.unread)+n]
	if n > 0 {
		return nil // the error comes again
	}
	return err
}

// begins waits for the beginning of the stream, and says whether it is so.
func (e *events) begins(so string) (bool, error) {
	for len(e.unread) < len(so) {
		if err := e.fill(); err != nil {
			return false, err
		}
		if n := min(len(e.unread), len(so)); string(e.unread[:n]) != so[:n] {
			return false, nil
		}
	}
	return true, nil
}

// next waits for events, at least one.
func (e *events) next() ([]sse.Event, error) {
	for {
		if n := e.whole(); n > 0 {
			all, err := e.parse(e.unread[:n])
			e.consume(n)
			if err != nil || len(all) > 0 {
				return all, err
			}
		}
		if len(e.unread) > maxEvent {
			return nil, fmt.Errorf("an event is larger than %d bytes", maxEvent)
		}
		if err := e.fill(); err != nil {
			return nil, err
		}
	}
}

// whole is how much of what has come ends with a blank line: an event is whole there. Lines end with CR, LF or both.
func (e *events) whole() int {
	b, n := e.unread, 0
	for i := e.looked; i < len(b); i++ {
		if b[i] != '\n' && b[i] != '\r' {
			continue
		}
		before := i - 1
		if before >= 0 && b[i] == '\n' && b[before] == '\r' {
			before--
		}
		if before >= 0 && (b[before] == '\n' || b[before] == '\r') {
			n = i + 1
		}
	}
	e.looked = len(b)
	return n
}

func (e *events) parse(b []byte) ([]sse.Event, error) {
	var all []sse.Event
	for event, err := range sse.Read(bytes.NewReader(b), &sse.ReadConfig{MaxEventSize: maxEvent}) {
		if err != nil {
			return all, err
		}
		if event.LastEventID == "" { // it is that of an event before
			event.LastEventID = e.lastID
		}
		e.lastID = event.LastEventID
		all = append(all, event)
	}
	return all, nil
}

func (e *events) consume(n int) {
	rest := e.unread[n:]
	if cap(e.unread) > keptRead && len(rest) < minRead {
		e.unread = append(make([]byte, 0, minRead), rest...)
	} else {
		e.unread = append(e.unread[:0], rest...)
	}
	e.looked = len(e.unread)
}
