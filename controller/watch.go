package controller

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/ledger"
)

// NoticeKind says what a Notice is about.
type NoticeKind string

// The kinds of notices.
const (
	NoticeOnline  NoticeKind = "online"  // Presence is set
	NoticeOffline NoticeKind = "offline" // Presence is set
	NoticeFenced  NoticeKind = "fenced"  // a newer instance (New) of a VM fenced an older one (Old)
	NoticeCommand NoticeKind = "command" // Entry has changed
	NoticeEvent   NoticeKind = "event"   // the VM reported Event
	NoticeLost    NoticeKind = "lost"    // the watcher was too slow; the channel is closed next
)

// Notice is one thing that a watcher may want to know. What it points to is the watcher's own, but
// for byte slices, which are shared. Parameters of commands are left out.
type Notice struct {
	Kind     NoticeKind    `json:"kind"`
	At       time.Time     `json:"at"`
	VM       string        `json:"vm_id,omitempty"`
	Presence *Presence     `json:"presence,omitempty"`
	Entry    *ledger.Entry `json:"entry,omitempty"`
	Event    *event.Event  `json:"event,omitempty"`
	Old      string        `json:"old_instance,omitempty"`
	New      string        `json:"new_instance,omitempty"`
}

// watchBuffer is how many notices a watcher may be behind.
const watchBuffer = 4096

// Watch returns a channel of notices from now on. It is closed when ctx ends, when the controller
// is closed, or, after a NoticeLost, when the watcher falls more than 4,096 notices behind: it may
// then watch anew and read the state with Fleet, List and Get.
func (c *Controller) Watch(ctx context.Context) <-chan Notice {
	w := &watcher{notices: make(chan Notice, watchBuffer+1)}
	if !c.watch.add(w) {
		close(w.notices)
		return w.notices
	}
	context.AfterFunc(ctx, func() { c.watch.remove(w) })
	return w.notices
}

type watcher struct{ notices chan Notice }

// hub spreads notices to watchers; it costs next to nothing while there are none.
type hub struct {
	count    atomic.Int32
	mu       sync.Mutex
	closed   bool
	watchers map[*watcher]struct{}
}

func (h *hub) init() { h.watchers = map[*watcher]struct{}{} }

func (h *hub) add(w *watcher) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.watchers[w] = struct{}{}
	h.count.Store(int32(len(h.watchers)))
	return true
}

func (h *hub) remove(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(w)
}

func (h *hub) drop(w *watcher) {
	if _, ok := h.watchers[w]; ok {
		delete(h.watchers, w)
		h.count.Store(int32(len(h.watchers)))
		close(w.notices)
	}
}

func (h *hub) wanted() bool { return h.count.Load() > 0 }

// publish never blocks. The last place in a channel is kept for NoticeLost.
func (h *hub) publish(n Notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		if len(w.notices) < watchBuffer {
			w.notices <- n
			continue
		}
		w.notices <- Notice{Kind: NoticeLost, At: n.At}
		h.drop(w)
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watchers {
		h.drop(w)
	}
}
