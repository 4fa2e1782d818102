package controller

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Of a VM so many fenced instances are remembered, for so long.
const (
	maxFenced = 64
	fencedFor = 7 * 24 * time.Hour
)

// instances are the processes that have dialled as one VM. A new one gets the VM's commands when it dials. It fences the one
// before when something is heard of it after its welcome, and not sooner: a dial of a process that was killed may arrive
// late, and must not fence the process that lives.
//
// All but fenced is guarded by mailbox.mu.
type instances struct {
	linked string // of the latest link
	proven string // the latest that was heard of, or the first of all
	newest string // the latest that was not known when it dialled: it fences proven once it is heard of

	// beside is a link of proven while newest, which was not heard of, has the link that commands go to.
	beside *link

	// fenced is not to come back, the oldest first. Edits of the ledger read it, which must not lock mailbox.mu.
	fenced atomic.Pointer[[]fencing]
}

type fencing struct {
	instance, by string
	at           time.Time
}

// takeOver makes l, of an instance that is not fenced, the link that commands go to.
func (b *mailbox) takeOver(l *link, instance string, now time.Time) {
	switch {
	case instance == "":
	case b.proven == "":
		b.newest = strings.Clone(instance) // it may be part of a request, which goes
		b.proven = b.newest
	case instance == b.proven:
	case instance != b.newest:
		b.newest = strings.Clone(instance)
	case b.link == nil || b.link.hello.Instance != instance:
		b.prove(instance, now) // its earlier dial is over: it has heard the answer
	}
	var beside *link
	for _, other := range [...]*link{b.beside, b.link} {
		switch {
		case other == nil:
		case instance == "" || other.hello.Instance == "" || other.hello.Instance == instance:
			other.end(transport.Errorf(transport.CodeReplaced, "another link of the same VM was opened"))
		case other.hello.Instance == b.proven:
			beside = other
		default:
			other.end(transport.Errorf(transport.CodeUnavailable, "another instance of the same VM has dialled"))
		}
	}
	for _, known := range [...]string{b.proven, b.newest} {
		if instance == known {
			instance = known
		}
	}
	b.link, b.beside, b.linked = l, beside, instance
}

// prove takes note that something was heard of an instance after its welcome.
func (b *mailbox) prove(instance string, now time.Time) {
	if instance == "" || instance != b.newest || instance == b.proven {
		return
	}
	old := b.proven
	b.proven = b.newest
	b.fence(old, b.newest, now)
	for _, l := range [...]**link{&b.link, &b.beside} {
		if *l != nil && (*l).hello.Instance == old {
			(*l).end(superseded(old, b.newest, b.vm))
			*l = nil
		}
	}
}

// fence shuts an older instance out for good.
func (b *mailbox) fence(old, newer string, now time.Time) {
	var all []fencing
	for _, f := range b.fencings() {
		if now.Sub(f.at) < fencedFor {
			all = append(all, f)
		}
	}
	all = append(all[max(0, len(all)+1-maxFenced):], fencing{old, newer, now})
	b.fenced.Store(&all)
	b.c.peers.Write(context.Background(), slog.LevelInfo, "instance fenced", b.vm, slog.String("instance", old), slog.String("by", newer))
	b.c.watch.publish(Notice{Kind: NoticeFenced, At: now, VM: b.vm, Old: old, New: newer})
}

func (i *instances) fencings() []fencing {
	if all := i.fenced.Load(); all != nil {
		return *all
	}
	return nil
}

// fencedBy is the instance that has taken over from one; empty: none has. It needs no lock.
func (i *instances) fencedBy(instance string) string {
	for _, f := range i.fencings() {
		if f.instance == instance && time.Since(f.at) < fencedFor {
			return f.by
		}
	}
	return ""
}

// fencedNames are the instances that were shut out, the latest last.
func (i *instances) fencedNames() []string {
	var names []string
	for _, f := range i.fencings() {
		if time.Since(f.at) < fencedFor {
			names = append(names, f.instance)
		}
	}
	return names
}

// speaker is who says what comes by the link, as of now. It needs no lock.
func (l *link) speaker() ledger.Speaker {
	return ledger.Speaker{Instance: l.hello.Instance, FencedBy: l.box.fencedBy(l.hello.Instance)}
}

func superseded(old, newer, vm string) error {
	return transport.Errorf(transport.CodeSuperseded, "instance %s of %s has taken over from %s", newer, vm, old)
}
