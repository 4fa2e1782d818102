package httplink

import (
	"cmp"
	"net"
	"net/http"
	"sync"
	"time"
	"weak"

	"github.com/miglink/miglink/internal/readiness"
)

// answerLimit is for the answer after which a connection rests.
const answerLimit = 15 * time.Second

// Rest answers a request after which its client will have nothing to say for a while. Over HTTP/1.1 its connection
// rests: it is without what net/http keeps for a connection, and goes back to its server when there is something to
// read, when the server is closed, which closes it, and after the server's IdleTimeout, to be idle for as long again.
// The body is that of the request, read to its end: what is left of one would be taken for the next request.
func Rest(w http.ResponseWriter, r *http.Request, body []byte, answer func(http.ResponseWriter)) {
	var b *Borrowed
	ok := r.ContentLength == int64(len(body)) && readiness.Supported && !restless(serverOf(r))
	if ok {
		b, ok = borrow(w, r)
	}
	if !ok {
		answer(w)
		return
	}
	answer(b)
	switch {
	case !b.send(answerLimit, false):
	case len(b.first) > 0: // net/http reads on while a request is answered
		giveBack(b.conn, b.server, b.first)
	default:
		rest(b.conn, b.server)
	}
}

// resting is a connection that rests. Server.mu of net/http is locked where a lounge is closed: nothing is given back
// with mu or loungesMu held.
type resting struct {
	conn   net.Conn
	server *http.Server

	mu     sync.Mutex // held until the others are set
	wait   *readiness.Wait
	late   *time.Timer // nil: it may rest for ever
	lounge *lounge
}

func rest(conn net.Conn, server *http.Server) {
	r := &resting{conn: conn, server: server}
	if !r.begin() {
		restlessServers.Store(weak.Make(server), true)
		giveBack(conn, server, nil)
	}
}

// restlessServers are those whose connections do not show their sockets, by weak.Pointer. To ask one of them costs more
// than it may bring, and one that goes back is a new one to net/http, for which Shutdown waits.
var restlessServers sync.Map

func restless(s *http.Server) bool {
	_, yes := restlessServers.Load(weak.Make(s))
	return yes
}

func (r *resting) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait, ok := readiness.On(r.conn, r.over)
	if !ok {
		return false
	}
	r.wait = wait
	if idle := cmp.Or(r.server.IdleTimeout, r.server.ReadTimeout); idle > 0 {
		r.late = time.AfterFunc(idle, wait.Stop)
	}
	r.lounge = enter(r.server, r)
	return true
}

// stop ends the rest.
func (r *resting) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wait.Stop()
}

// over is called once, at the end of the rest.
func (r *resting) over() {
	r.mu.Lock()
	late, lounge := r.late, r.lounge
	r.mu.Unlock()
	if late != nil {
		late.Stop()
	}
	lounge.leave(r)
	giveBack(r.conn, r.server, nil)
}
