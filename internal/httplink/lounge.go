package httplink

import (
	"net"
	"net/http"
	"sync"
)

// lounge is where connections of a server rest. It is a Listener of the server's, which is closed with the server: that
// is how they end with it.
type lounge struct {
	server  *http.Server
	addr    net.Addr // of the first
	resting map[*resting]struct{}
	closed  chan struct{}
}

var (
	loungesMu sync.Mutex // guards what is in each, too
	lounges   = map[*http.Server]*lounge{}
)

// enter has a connection end with a server, until it leaves.
func enter(s *http.Server, r *resting) *lounge {
	loungesMu.Lock()
	defer loungesMu.Unlock()
	l := lounges[s]
	if l == nil {
		l = &lounge{server: s, addr: r.conn.LocalAddr(), resting: map[*resting]struct{}{}, closed: make(chan struct{})}
		lounges[s] = l
		go s.Serve(l) //nolint:errcheck // it closes l where it fails
	}
	l.resting[r] = struct{}{}
	return l
}

// leave is for a connection that rests no more. With the last one the lounge closes.
func (l *lounge) leave(r *resting) {
	loungesMu.Lock()
	defer loungesMu.Unlock()
	delete(l.resting, r)
	if len(l.resting) == 0 {
		l.close()
	}
}

// close is Close for who holds loungesMu.
func (l *lounge) close() {
	if lounges[l.server] == l {
		delete(lounges, l.server)
		close(l.closed)
	}
}

// Close implements net.Listener.
func (l *lounge) Close() error {
	loungesMu.Lock()
	l.close()
	all := make([]*resting, 0, len(l.resting))
	for r := range l.resting {
		all = append(all, r)
	}
	loungesMu.Unlock()
	for _, r := range all {
		r.stop()
	}
	return nil
}

// Accept implements net.Listener.
func (l *lounge) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

// Addr implements net.Listener.
func (l *lounge) Addr() net.Addr { return l.addr }
