package bolt

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/miglink/miglink/ledger"
)

// Pending implements ledger.Ledger.
func (l *Ledger) Pending(ctx context.Context, vm string, lane ledger.Lane, after uint64, limit int) ([]*ledger.Entry, error) {
	if err := l.usable(ctx); err != nil {
		return nil, err
	}
	l.liveMu.RLock()
	defer l.liveMu.RUnlock()
	return l.live.Pending(vm, lane, after, limit), nil
}

// Get implements ledger.Ledger.
func (l *Ledger) Get(ctx context.Context, id string) (*ledger.Entry, error) {
	if err := l.usable(ctx); err != nil {
		return nil, err
	}
	if e := l.fromLive(id); e != nil {
		return e, nil
	}
	var e *ledger.Entry
	err := l.view(func(tx *bolt.Tx) (err error) {
		e, err = findArchived(tx, id)
		return err
	})
	return e, err
}

func (l *Ledger) fromLive(id string) *ledger.Entry {
	l.liveMu.RLock()
	defer l.liveMu.RUnlock()
	return l.live.get(id)
}

// List implements ledger.Ledger.
func (l *Ledger) List(ctx context.Context, vm string, before uint64, limit int) ([]*ledger.Entry, error) {
	if err := l.usable(ctx); err != nil {
		return nil, err
	}
	recent := l.recentOf(vm) // first: what is archived meanwhile is then found twice, and not missed
	var out []*ledger.Entry
	err := l.view(func(tx *bolt.Tx) (err error) {
		out, err = listArchived(tx, vm, before, limit)
		return err
	})
	for _, e := range recent {
		if before == 0 || e.Seq < before {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b *ledger.Entry) int { return cmp.Compare(b.Seq, a.Seq) })
	out = slices.CompactFunc(out, func(a, b *ledger.Entry) bool { return a.Seq == b.Seq })
	return out[:min(limit, len(out))], err
}

func (l *Ledger) recentOf(vm string) []*ledger.Entry {
	l.liveMu.RLock()
	defer l.liveMu.RUnlock()
	return l.live.of(vm)
}

// VMs implements ledger.Ledger.
func (l *Ledger) VMs(ctx context.Context) ([]ledger.VM, error) {
	if err := l.usable(ctx); err != nil {
		return nil, err
	}
	names := l.recentVMs() // first: what is archived meanwhile is then found twice, and not missed
	err := l.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketVMs).ForEach(func(name, _ []byte) error {
			names[string(name)] = true
			return nil
		})
	})
	l.liveMu.RLock()
	defer l.liveMu.RUnlock()
	out := make([]ledger.VM, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		pending, _ := l.live.Load(name)
		out = append(out, ledger.VM{Name: name, Pending: pending})
	}
	return out, err
}

func (l *Ledger) recentVMs() map[string]bool {
	l.liveMu.RLock()
	defer l.liveMu.RUnlock()
	names := map[string]bool{}
	for _, n := range l.live.nodes {
		names[n.Entry().VM] = true
	}
	return names
}

// Due implements ledger.Ledger.
func (l *Ledger) Due(ctx context.Context, now time.Time, limit int) ([]*ledger.Entry, time.Time, error) {
	if err := l.usable(ctx); err != nil {
		return nil, time.Time{}, err
	}
	l.liveMu.Lock()
	defer l.liveMu.Unlock()
	due, next := l.live.Due(now, limit)
	return due, next, nil
}

func (l *Ledger) usable(ctx context.Context) error {
	if l.closed() {
		return ledger.ErrClosed
	}
	return ctx.Err()
}

func (l *Ledger) view(do func(*bolt.Tx) error) error {
	err := l.db.View(do)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ledger.ErrClosed
	}
	return err
}
