package bolt

import (
	"bytes"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/miglink/miglink/ledger"
)

// archiveMany is how many settled entries wait to be archived together.
const archiveMany = 1024

// archiving is entries on their way into the archive, beside the writer.
type archiving struct {
	entries []*ledger.Entry
	err     error         // read after done
	done    chan struct{} // closed when they are there, or could not be
}

// tidy begins to archive, or writes the log anew, when there is enough to do.
func (l *Ledger) tidy() {
	if l.archiving == nil {
		l.beginArchiving()
	}
	if l.log.Size() > l.compactAt {
		l.compact()
	}
}

func (l *Ledger) beginArchiving() {
	l.nextMu.Lock()
	defer l.nextMu.Unlock()
	if len(l.next.settled) < l.archiveAt {
		return
	}
	a := &archiving{entries: l.next.settledEntries(), done: make(chan struct{})}
	l.archiving = a
	go func() {
		defer close(a.done)
		a.err = l.archive(a.entries)
	}()
}

// compact writes the log anew. If it fails the old one is as good, and the next try is later.
func (l *Ledger) compact() {
	l.nextMu.Lock()
	defer l.nextMu.Unlock()
	if err := l.rewriteLog(l.next); err != nil {
		l.compactAt = 2 * l.log.Size()
	}
}

// fullPages is how full a page is when another follows it. By default they are half full, with room for what comes
// between; here keys grow, those of the archive within each VM.
const fullPages = 0.95

// archive puts entries into the archive, all or none.
func (l *Ledger) archive(entries []*ledger.Entry) error {
	return l.db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketArchive, bucketSettled, bucketIDs} {
			tx.Bucket(name).FillPercent = fullPages
		}
		for _, e := range entries {
			if err := l.archiveEntry(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// dropArchived takes what has come into the archive out of the recent entries; what has changed meanwhile
// stays, to be archived again. It may wait for what is on its way.
func (l *Ledger) dropArchived(wait bool) {
	a := l.archiving
	if a == nil {
		return
	}
	if !wait {
		select {
		case <-a.done:
		default:
			return
		}
	}
	<-a.done
	l.archiving = nil
	if a.err != nil { // they stay where they are, as safe; the next try is later
		l.archiveAt = 2 * len(a.entries)
		return
	}
	l.archiveAt = archiveMany
	l.drop(a.entries)
}

func (l *Ledger) drop(archived []*ledger.Entry) {
	l.nextMu.Lock()
	defer l.nextMu.Unlock()
	l.liveMu.Lock()
	defer l.liveMu.Unlock()
	l.next.drop(archived)
	l.live.drop(archived)
	l.leftover = true
}

// prune forgets what settled before a time. All that did is in the archive then, and nowhere in the log,
// from which it would come back.
func (l *Ledger) prune(p *pruning) error {
	l.dropArchived(true)
	if err := l.archiveBefore(p); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	var old [][]byte
	err := l.db.View(func(tx *bolt.Tx) error {
		old = settledBefore(tx, p.then, p.limit)
		return nil
	})
	if err != nil || len(old) == 0 {
		return err
	}
	if l.leftover {
		l.nextMu.Lock()
		err = l.rewriteLog(l.next)
		l.nextMu.Unlock()
	}
	var gone []string
	if err == nil {
		err = l.db.Update(func(tx *bolt.Tx) (err error) {
			gone, err = l.forget(tx, old)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	for _, vm := range gone {
		delete(l.seqs, vm)
		delete(l.recentSeqs, vm)
	}
	p.n = len(old)
	return nil
}

// archiveBefore archives what is settled, if some of it is to be pruned.
func (l *Ledger) archiveBefore(p *pruning) error {
	l.nextMu.Lock()
	entries := l.next.settledEntries()
	l.nextMu.Unlock()
	for _, e := range entries {
		if e.UpdatedAt.Before(p.then) {
			err := l.archive(entries)
			if err == nil {
				l.drop(entries)
			}
			return err
		}
	}
	return nil
}

// forget forgets the archived entries of keys of bucketSettled, but not which numbers were used, and returns the VMs of which
// nothing is left. An entry that cannot be read is forgotten, too.
func (l *Ledger) forget(tx *bolt.Tx, old [][]byte) (gone []string, err error) {
	last := map[string]uint64{} // before anything is deleted: a cursor may not come back from a bucket that is empty since
	for _, k := range old {
		vm := vmOf(k[8:])
		if _, ok := last[vm]; !ok {
			last[vm] = lastSeq(tx, vm)
		}
	}
	for _, k := range old {
		e, err := l.archivedAt(tx, k[8:])
		if err == nil && bytes.Equal(settledKey(e), k) {
			err = forget(tx, k, e)
		} else {
			err = forgetUnreadable(tx, k[8:])
		}
		if err != nil {
			return nil, err
		}
	}
	return l.putRows(tx, last)
}
