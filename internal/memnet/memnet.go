// Package memnet is a network in memory, for tests that run real HTTP under fake time: inside a
// testing/synctest bubble a goroutine that waits for a real socket would keep time from passing.
package memnet

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// Listener hands its dialled connections to Accept. Connections hold no bytes: a write waits for its
// reader, as on a network whose buffers are full.
type Listener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// Listen returns a listener. Call it inside the bubble.
func Listen() *Listener {
	return &Listener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// Serve runs a server for h on a new listener, and returns a client that reaches it under any URL of
// http://. Both are closed by calling stop.
func Serve(server *http.Server) (client *http.Client, stop func()) {
	l := Listen()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // ErrServerClosed
	}()
	t := &http.Transport{DialContext: l.DialContext, DisableCompression: true}
	return &http.Client{Transport: t}, func() {
		t.CloseIdleConnections()
		server.Close()
		<-served
	}
}

// ServeHTTP2 is Serve with a client that speaks HTTP/2, which the server has to speak without TLS.
func ServeHTTP2(server *http.Server) (client *http.Client, stop func()) {
	client, stop = Serve(server)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client.Transport.(*http.Transport).Protocols = protocols
	return client, stop
}

// DialContext connects, whatever the address.
func (l *Listener) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Connections that were accepted live on.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "memory" }
func (addr) String() string  { return "memory" }
