package framed_test

import (
	"bytes"
	"errors"
	"sync"

	"github.com/miglink/miglink/transport/framed"
)

// memoryPipe is a Pipe within the process. Frames cross it as the bytes that they are on a wire.
type memoryPipe struct {
	in     <-chan []byte
	out    chan<- []byte
	done   chan struct{} // of both ends
	once   *sync.Once
	onSend func(*framed.Frame) (send int) // how often to send it; nil is once
}

var errEnded = errors.New("the pipe has ended")

// newMemoryPipe returns the agent's end and the controller's. Each way holds buffer frames.
func newMemoryPipe(buffer int) (agent, controller *memoryPipe) {
	up, down := make(chan []byte, buffer), make(chan []byte, buffer)
	done, once := make(chan struct{}), new(sync.Once)
	return &memoryPipe{in: down, out: up, done: done, once: once}, &memoryPipe{in: up, out: down, done: done, once: once}
}

func (m *memoryPipe) Send(f *framed.Frame) error {
	n := 1
	if m.onSend != nil {
		n = m.onSend(f)
	}
	var b bytes.Buffer
	if err := framed.Encode(&b, f); err != nil {
		return err
	}
	for range n {
		if err := m.write(b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func (m *memoryPipe) write(b []byte) error {
	select { // after the end there is always an error
	case <-m.done:
		return errEnded
	default:
	}
	select {
	case m.out <- b:
		return nil
	case <-m.done:
		return errEnded
	}
}

func (m *memoryPipe) Recv() (*framed.Frame, error) {
	select {
	case b := <-m.in:
		return framed.Decode(b)
	case <-m.done:
	}
	select { // what was sent before the end arrives
	case b := <-m.in:
		return framed.Decode(b)
	default:
		return nil, errEnded
	}
}

func (m *memoryPipe) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}
