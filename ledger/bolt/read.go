package bolt

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/miglink/miglink/internal/lowest"
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
		e, err = l.findArchived(tx, id)
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
	err := l.view(func(tx *bolt.Tx) error {
		out = l.listArchived(tx, vm, before, limit)
		return nil
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
func (l *Ledger) VMs(ctx context.Context, q ledger.VMQuery) ([]ledger.VM, error) {
	if err := l.usable(ctx); err != nil {
		return nil, err
	}
	names := l.recentVMs(q) // first: what is archived meanwhile is then found twice, and not missed
	if !q.Unsettled {
		if err := l.view(func(tx *bolt.Tx) error {
			names = lowest.Merge(names, archivedVMs(tx, q), q.Limit)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	l.liveMu.RLock()
	defer l.liveMu.RUnlock()
	return l.live.Count(names), nil
}

// recentVMs are those with something unsettled, and, unless only these are asked for, those with something settled that is
// not archived yet.
func (l *Ledger) recentVMs(q ledger.VMQuery) []string {
	l.liveMu.RLock()
	defer l.liveMu.RUnlock()
	found := lowest.After(q.After, q.Limit)
	l.live.VMs(found.Add)
	if !q.Unsettled {
		for name := range l.live.settledVMs() {
			if waits, _ := l.live.Load(name); waits == 0 { // else it is there already
				found.Add(name)
			}
		}
	}
	return found.Sorted()
}

// archivedVMs are those that the archive has a row of.
func archivedVMs(tx *bolt.Tx, q ledger.VMQuery) (names []string) {
	c := tx.Bucket(bucketVMs).Cursor()
	for name, _ := c.Seek([]byte(q.After)); name != nil && (q.Limit == 0 || len(names) < q.Limit); name, _ = c.Next() {
		if string(name) > q.After {
			names = append(names, string(name))
		}
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
