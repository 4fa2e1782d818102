package controller

import (
	"cmp"
	"context"
	"slices"
	"time"

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
	Pending   int       `json:"pending"`          // unsettled commands; only Fleet fills it
	Fenced    []string  `json:"fenced,omitempty"` // older instances that were shut out, the latest last
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

// Fleet returns every VM that has been heard of or has commands in the ledger, by name.
func (c *Controller) Fleet(ctx context.Context) ([]Presence, error) {
	vms, err := c.ledger.VMs(ctx)
	if err != nil {
		return nil, getError(err)
	}
	pending := make(map[string]int, len(vms))
	fleet := make([]Presence, 0, len(vms))
	for _, vm := range vms {
		pending[vm.Name] = vm.Pending
		if c.lookup(vm.Name) == nil {
			fleet = append(fleet, Presence{VM: vm.Name, Pending: vm.Pending})
		}
	}
	for _, b := range c.mailboxes() {
		b.mu.Lock()
		p := b.presence()
		b.mu.Unlock()
		p.Pending = pending[b.vm]
		fleet = append(fleet, p)
	}
	slices.SortFunc(fleet, func(a, b Presence) int { return cmp.Compare(a.VM, b.VM) })
	return slices.CompactFunc(fleet, func(a, b Presence) bool { return a.VM == b.VM }), nil
}

func (b *mailbox) presence() Presence {
	return Presence{
		VM:        b.vm,
		Online:    b.online,
		Attached:  b.link != nil,
		Instance:  b.instance,
		Transport: b.via.Value(),
		Since:     b.since,
		LastSeen:  b.lastSeen,
		Fenced:    slices.Clone(b.fenced),
	}
}

// touch renews the lease, unless it is a fenced instance that gives the sign of life.
func (b *mailbox) touch(hello transport.Hello) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.isFenced(hello.Instance) {
		b.seen(time.Now())
	}
}

// seen notes a sign of life. With a link open the lease does not run.
func (b *mailbox) seen(now time.Time) {
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
	b.c.log.Info("VM is "+string(kind), "vm_id", b.vm, "instance", b.instance, "transport", b.via.Value())
	if b.c.watch.wanted() {
		p := b.presence()
		b.c.watch.publish(Notice{Kind: kind, At: now, VM: b.vm, Presence: &p})
	}
}
