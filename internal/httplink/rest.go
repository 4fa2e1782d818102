package httplink

import (
	"cmp"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/miglink/miglink/internal/readiness"
)

// answerLimit is for the answer after which a connection rests.
const answerLimit = 15 * time.Second

// Rest answers a request after which its client will have nothing to say for a while. Over HTTP/1.1 its connection
// rests: it is without what net/http keeps for a connection, and goes back to its server when there is something to
// read, when the server is closed, which closes it, and after the server's IdleTimeout, to be idle for as long again.
// The request's body is to be read to its end.
func Rest(w http.ResponseWriter, r *http.Request, answer func(http.ResponseWriter)) {
	b, ok := borrow(w, r)
	if !ok {
		answer(w)
		return
	}
	answer(b)
	if !b.send(answerLimit, false) {
		return
	}
	if len(b.first) > 0 { // net/http reads on while a request is answered
		giveBack(b.conn, b.server, b.first)
	} else {
		rest(b.conn, b.server)
	}
}

// resting is a connection that rests.
type resting struct {
	conn   net.Conn
	lounge *lounge

	mu   sync.Mutex // held until it is known how the rest ends
	wait *readiness.Wait
	late *time.Timer // nil: it may rest for ever
}

func rest(conn net.Conn, server *http.Server) {
	r := &resting{conn: conn}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lounge = enter(server, r)
	wait, ok := readiness.On(conn, r.over)
	if !ok {
		r.lounge.leave(r)
		giveBack(conn, server, nil)
		return
	}
	r.wait = wait
	if idle := cmp.Or(server.IdleTimeout, server.ReadTimeout); idle > 0 {
		r.late = time.AfterFunc(idle, r.stop)
	}
}

// stop ends the rest.
func (r *resting) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wait != nil {
		r.wait.Stop()
	}
}

// over is called once, at the end of the rest.
func (r *resting) over() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.late != nil {
		r.late.Stop()
	}
	r.lounge.leave(r)
	giveBack(r.conn, r.lounge.server, nil)
}
