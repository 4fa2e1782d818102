package brokertest

import (
	"bytes"
	"context"
	"net"
	"sync"
)

// Record keeps what goes out over connections, as the other end sees it. It is safe for concurrent use.
type Record struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Dial connects over TCP, and records what is written.
func (r *Record) Dial(network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(context.Background(), network, addr)
	if err != nil {
		return nil, err
	}
	return &recorded{c, r}, nil
}

// Count counts a string in what was written.
func (r *Record) Count(s string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Count(r.b.Bytes(), []byte(s))
}

type recorded struct {
	net.Conn
	r *Record
}

func (c *recorded) Write(b []byte) (int, error) {
	c.r.mu.Lock()
	c.r.b.Write(b)
	c.r.mu.Unlock()
	return c.Conn.Write(b)
}
