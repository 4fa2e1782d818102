package rabbitmq

import (
	"sync"
	"time"

	"github.com/miglink/miglink/internal/broker"
)

// agentConnection is a connection of an agent, for one link at a time.
type agentConnection struct {
	*connection
	queue    string         // exclusive: it goes with the connection
	declared bool           // the broker has made the queue; read and written by whoever opens a session
	others   broker.Started // of the link that it carries
	hearing  sync.Once
}

// restTime is how long a connection waits for the next link of its VM. When a controller dies, its agents are back with
// another in this time; later there is none to be quick for.
const restTime = 15 * time.Second

// rest keeps connections whose controllers have died: most of what a fleet that dials at once costs a broker are its
// connections and their queues. Its zero value keeps none. It is safe for concurrent use.
type rest struct {
	mu   sync.Mutex
	kept map[string]*resting // by VM
}

type resting struct {
	conn  *agentConnection
	timer *time.Timer
}

// take returns the connection that the VM left behind, or nil.
func (r *rest) take(vm string) *agentConnection {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.kept[vm]
	delete(r.kept, vm)
	if k == nil || !k.timer.Stop() || k.conn.IsClosed() {
		return nil
	}
	return k.conn
}

// put keeps a connection for the next link of the VM, for a while, unless another is kept already.
func (r *rest) put(vm string, conn *agentConnection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept[vm] != nil {
		go conn.hangUp()
		return
	}
	if r.kept == nil {
		r.kept = map[string]*resting{}
	}
	k := &resting{conn: conn}
	k.timer = time.AfterFunc(restTime, func() {
		r.mu.Lock()
		if r.kept[vm] == k {
			delete(r.kept, vm)
		}
		r.mu.Unlock()
		conn.hangUp()
	})
	r.kept[vm] = k
}
