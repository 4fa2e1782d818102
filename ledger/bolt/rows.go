package bolt

import (
	"encoding/binary"

	bolt "go.etcd.io/bbolt"
)

// highestSeq is the highest number that was used by VMs that have no row any more. A VM without a row goes on from it: it
// may be one of those, and what it, or its agent's cursor, remembers of before must not cover what comes. One number for
// all keeps that with no memory of each.
func highestSeq(tx *bolt.Tx) uint64 {
	if b := tx.Bucket(bucketMeta).Get(metaSeq); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// putRows writes the rows of VMs whose archived entries may have been forgotten, with the highest numbers that they have
// used. Those that have no entry any more lose their row, and are returned.
func (l *Ledger) putRows(tx *bolt.Tx, last map[string]uint64) (gone []string, err error) {
	highest, recent := highestSeq(tx), l.haveRecent(last)
	for vm, seq := range last {
		if recent[vm] || hasArchived(tx, vm) {
			if err := noteSeq(tx, vm, seq); err != nil {
				return nil, err
			}
			continue
		}
		if err := tx.Bucket(bucketVMs).Delete([]byte(vm)); err != nil {
			return nil, err
		}
		gone = append(gone, vm)
		highest = max(highest, seq)
	}
	if len(gone) == 0 {
		return nil, nil
	}
	return gone, tx.Bucket(bucketMeta).Put(metaSeq, binary.BigEndian.AppendUint64(nil, highest))
}

// haveRecent are those of some VMs that have recent entries. Only the writer adds any, or lets go of them.
func (l *Ledger) haveRecent(vms map[string]uint64) map[string]bool {
	l.nextMu.Lock()
	defer l.nextMu.Unlock()
	recent := l.next.settledVMs()
	for vm := range vms {
		if waits, _ := l.next.Load(vm); waits > 0 {
			recent[vm] = true
		}
	}
	return recent
}

// hasArchived says whether the archive has an entry of a VM.
func hasArchived(tx *bolt.Tx, vm string) bool {
	key, _ := tx.Bucket(bucketArchive).Cursor().Seek(entryKey(vm, 0))
	return isOf(key, vm)
}

// dropRows drops the rows of VMs that have no entry: earlier versions kept them for ever.
func (l *Ledger) dropRows() error {
	last := map[string]uint64{}
	if err := l.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketVMs).ForEach(func(name, _ []byte) error {
			if vm := string(name); !hasArchived(tx, vm) {
				last[vm] = lastSeq(tx, vm)
			}
			return nil
		})
	}); err != nil || len(last) == 0 {
		return err
	}
	return l.db.Update(func(tx *bolt.Tx) error {
		_, err := l.putRows(tx, last)
		return err
	})
}
