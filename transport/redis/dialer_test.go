package redis_test

import (
	"context"
	"net"
	"sync"
)

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// mortal makes connections that all end with kill, without a word.
func mortal(kill <-chan struct{}) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		ended := make(chan struct{})
		go func() {
			select {
			case <-kill:
				c.Close()
			case <-ended:
			}
		}()
		return &noticed{Conn: c, ended: ended}, nil
	}
}

// noticed says when it was closed.
type noticed struct {
	net.Conn
	once  sync.Once
	ended chan struct{}
}

func (n *noticed) Close() error {
	n.once.Do(func() { close(n.ended) })
	return n.Conn.Close()
}

// stalling makes connections that are read from no more once they are told so.
type stalling struct {
	stop, goOn chan struct{}
}

func (s stalling) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	_ = c.(*net.TCPConn).SetReadBuffer(64 << 10) // what waits is to wait at the server
	return &stalled{c, s}, nil
}

type stalled struct {
	net.Conn
	s stalling
}

func (c *stalled) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	select {
	case <-c.s.stop:
		<-c.s.goOn
	default:
	}
	return n, err
}
