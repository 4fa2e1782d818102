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

// What a watcher may be behind. An event has up to 64 KiB and an entry seven times that, all of which stays in memory until
// the watcher takes it, so that a number alone bounds nothing.
const (
	watchBuffer = 4096     // notices
	watchBytes  = 16 << 20 // of them; one notice of any size always fits
)

// Watch returns a channel of notices from now on. It is closed when ctx ends, when the controller
// is closed, or, after a NoticeLost, when the watcher falls more than 4,096 notices or 16 MiB behind: it
// may then watch anew and read the state with Fleet, List and Get.
func (c *Controller) Watch(ctx context.Context) <-chan Notice {
	w := &watcher{notices: make(chan Notice, watchBuffer+1)}
	if !c.watch.add(w) {
		close(w.notices)
		return w.notices
	}
	context.AfterFunc(ctx, func() { c.watch.remove(w) })
	return w.notices
}

// watcher is one channel. Its other fields are guarded by the hub's mu.
type watcher struct {
	notices chan Notice
	sizes   []int // of what was sent, in bytes: those at the end are of what the channel still holds
	bytes   int   // the sum of sizes
}

// offer sends a notice of so many bytes, unless the watcher is too far behind. It does not block.
func (w *watcher) offer(n Notice, size int) bool {
	// A channel gives out what came first, so what was taken are the first. The watcher may take more meanwhile, which
	// makes the sum too large for once, and never too small.
	taken := len(w.sizes) - len(w.notices)
	for _, s := range w.sizes[:taken] {
		w.bytes -= s
	}
	w.sizes = w.sizes[taken:]
	if held := len(w.sizes); held >= watchBuffer || held > 0 && w.bytes+size > watchBytes {
		return false
	}
	w.sizes = append(w.sizes, size)
	w.bytes += size
	w.notices <- n
	return true
}

// size is about what a notice keeps in memory, in bytes.
func (n *Notice) size() int {
	size := 512 + len(n.VM) + len(n.Old) + len(n.New)
	if e := n.Event; e != nil {
		size += e.Size()
	}
	if e := n.Entry; e != nil {
		size += len(e.Command.Parameters) + len(e.Result) + len(e.Reason)
		for i := range e.History {
			size += 64 + len(e.History[i].Reason)
		}
	}
	return size
}

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
	size := n.size()
	for w := range h.watchers {
		if w.offer(n, size) {
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
