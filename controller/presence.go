package controller

import (
	"context"
	"log/slog"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
)

// Presence says who is there for a VM. It is a lease: whatever the VM does renews it, and while a
// link is open it does not run out.
type Presence struct {
	VM        string    `json:"vm_id"`
	Online    bool      `json:"online"`
	Attached  bool      `json:"attached"`            // a link for commands is open
	Instance  string    `json:"instance,omitempty"`  // the latest
	Transport string    `json:"transport,omitempty"` // the path of the latest link, as in Hello.Via; "" is in-process
	Since     time.Time `json:"since,omitzero"`      // of being online or offline
	LastSeen  time.Time `json:"last_seen,omitzero"`
	Pending   int       `json:"pending"` // unsettled commands; only VMs and Fleet fill it
	// ClockSkew is how far the VM's clock is ahead of the controller's, as of the latest dial; negative is behind. The time
	// that the hello took to arrive makes it too small, by that much. Zero is also not known.
	ClockSkew command.Duration `json:"clock_skew,omitzero"`
	Abandoned int              `json:"abandoned_runs,omitempty"` // runs that the agent has given up, as they have outlived their limit, and that may still be going on
	NoDisk    bool             `json:"no_disk,omitempty"`        // the agent's journal has no room, or cannot be written: commands are deferred until it can
	Fenced    []string         `json:"fenced,omitempty"`         // older instances that were shut out, the latest last
}

// Presence returns what is known of a VM; false if it has not been heard of since the controller
// started.
func (c *Controller) Presence(vm string) (Presence, bool) {
	b := c.lookup(vm)
	if b == nil {
		return Presence{VM: vm}, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.presence(), true
}

func (b *mailbox) presence() Presence {
	return Presence{
		VM:        b.vm,
		Online:    b.online,
		Attached:  b.link != nil,
		Instance:  b.linked,
		Transport: b.via.Value(),
		Since:     b.since,
		LastSeen:  b.lastSeen,
		ClockSkew: command.Duration(b.skew),
		Abandoned: b.countAbandoned(),
		NoDisk:    b.noDisk,
		Fenced:    b.fencedNames(),
	}
}

// touch renews the lease, unless it is a fenced instance that gives the sign of life.
func (b *mailbox) touch(hello transport.Hello) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fencedBy(hello.Instance) == "" {
		now := time.Now()
		b.prove(hello.Instance, now)
		b.seen(now)
	}
}

// seen notes a sign of life. With a link open the lease does not run.
func (b *mailbox) seen(now time.Time) {
	if b.forgotten {
		return // what is left of its links says nothing of whoever has the name next
	}
	b.lastSeen = now
	if b.link == nil {
		b.c.leases.renew(b)
	}
	b.setOnline(true, now)
}

// lapse is called when nothing was heard for as long as the lease.
func (b *mailbox) lapse() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if b.link == nil && now.Sub(b.lastSeen) >= b.c.opts.Lease {
		b.setOnline(false, now)
	}
}

func (b *mailbox) setOnline(online bool, now time.Time) {
	if b.online == online {
		return
	}
	b.online, b.since = online, now
	kind := NoticeOffline
	if online {
		kind = NoticeOnline
	}
	b.c.peers.Write(context.Background(), slog.LevelInfo, "VM is "+string(kind), b.vm, slog.String("instance", b.linked), slog.String("transport", b.via.Value()))
	if b.c.watch.wanted() {
		p := b.presence()
		b.c.watch.publish(Notice{Kind: kind, At: now, VM: b.vm, Presence: &p})
	}
}
