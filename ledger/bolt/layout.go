package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/miglink/miglink/ledger"
)

// The buckets. The key of an entry is its VM, a zero byte (which no name of a VM holds) and its Seq as
// eight bytes, big-endian: the entries of a VM stand together, in order. All are of what is in the archive:
// the rest is in the log.
var (
	bucketMeta    = []byte("meta")
	bucketArchive = []byte("archive") // key → JSON of an entry that is settled
	bucketSettled = []byte("settled") // UpdatedAt and key → nothing
	bucketIDs     = []byte("ids")     // command ID → key
	bucketKeys    = []byte("keys")    // VM, zero byte, idempotency key → command ID
	bucketVMs     = []byte("vms")     // VM with archived entries → a Seq; it has used no higher one that is not that of an entry

	allBuckets = [][]byte{bucketMeta, bucketArchive, bucketSettled, bucketIDs, bucketKeys, bucketVMs}

	metaFormat = []byte("format")
	metaEpoch  = []byte("epoch")
	metaLog    = []byte("log") // there is a log
	metaSeq    = []byte("seq") // the highest Seq of VMs that have no row any more
)

func entryKey(vm string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(vm), 0), seq)
}

func idempotencyKey(vm, key string) []byte { return []byte(vm + "\x00" + key) }

func settledKey(e *ledger.Entry) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(e.UpdatedAt.UnixNano()))
	return append(b, entryKey(e.VM, e.Seq)...)
}

// findArchived returns the entry of a command that was archived: ErrNotFound where there is none, ErrUnreadable where next to
// nothing of it can be read.
func (l *Ledger) findArchived(tx *bolt.Tx, id string) (*ledger.Entry, error) {
	return l.archivedAt(tx, tx.Bucket(bucketIDs).Get([]byte(id)))
}

func (l *Ledger) archivedAt(tx *bolt.Tx, key []byte) (*ledger.Entry, error) {
	if key == nil {
		return nil, ledger.ErrNotFound
	}
	return l.readArchived(key, tx.Bucket(bucketArchive).Get(key))
}

// readArchived reads a value of the archive, or as much of it as can be.
func (l *Ledger) readArchived(key, value []byte) (*ledger.Entry, error) {
	e, problem := readEntry(value, time.Now())
	if problem != "" {
		l.aside.inArchive(key, e, problem)
	}
	if e == nil {
		return nil, fmt.Errorf("%w: an entry of %s: %s", ledger.ErrUnreadable, FileName, problem)
	}
	return e, nil
}

// findByKey returns the ID of the command that has an idempotency key; empty: there is none.
func findByKey(tx *bolt.Tx, vm, key string) string {
	return string(tx.Bucket(bucketKeys).Get(idempotencyKey(vm, key)))
}

// lastSeq is the highest that a VM has used, of what is archived.
func lastSeq(tx *bolt.Tx, vm string) uint64 {
	var last uint64
	if b := tx.Bucket(bucketVMs).Get([]byte(vm)); len(b) == 8 {
		last = binary.BigEndian.Uint64(b)
	}
	if key, _ := before(tx.Bucket(bucketArchive).Cursor(), append([]byte(vm), 1)); isOf(key, vm) {
		last = max(last, binary.BigEndian.Uint64(key[len(key)-8:]))
	}
	return last
}

func isOf(key []byte, vm string) bool {
	return len(key) == len(vm)+9 && string(key[:len(vm)]) == vm && key[len(vm)] == 0
}

// vmOf is the VM of an entry's key.
func vmOf(key []byte) string { return string(key[:max(len(key)-9, 0)]) }

// before moves to the last key before end.
func before(c *bolt.Cursor, end []byte) (key, value []byte) {
	if key, _ := c.Seek(end); key == nil {
		return c.Last()
	}
	return c.Prev()
}

// noteSeq remembers a number, for when its entry is gone.
func noteSeq(tx *bolt.Tx, vm string, seq uint64) error {
	return tx.Bucket(bucketVMs).Put([]byte(vm), binary.BigEndian.AppendUint64(nil, seq))
}

// usualEntry is about what takes most room, in bytes. A transaction keeps what is put until its end.
const usualEntry = 640

// archiveEntry puts a settled entry into the archive, or its present state if it was there.
func (l *Ledger) archiveEntry(tx *bolt.Tx, e *ledger.Entry) error {
	value, err := appendEntry(make([]byte, 0, usualEntry), e)
	if err != nil {
		return err
	}
	id, key := []byte(e.Command.ID), entryKey(e.VM, e.Seq)
	if known := tx.Bucket(bucketIDs).Get(id); known != nil {
		before, err := l.archivedAt(tx, known)
		if err == nil {
			return l.changeArchived(tx, before, e, value)
		}
		// What was there cannot be read: it is kept elsewhere, and whatever leads to it goes.
		known = bytes.Clone(known)
		if err := l.aside.keepArchived(known, tx.Bucket(bucketArchive).Get(known)); err != nil {
			return err
		}
		if err := forgetUnreadable(tx, known); err != nil {
			return err
		}
	}
	if err := tx.Bucket(bucketIDs).Put(id, key); err != nil {
		return err
	}
	if err := putKey(tx, e); err != nil {
		return err
	}
	if vms := tx.Bucket(bucketVMs); vms.Get([]byte(e.VM)) == nil {
		if err := noteSeq(tx, e.VM, 0); err != nil {
			return err
		}
	}
	return putArchived(tx, e, value)
}

// putKey notes whose idempotency key it is: of several commands that have had it the latest has it now.
func putKey(tx *bolt.Tx, e *ledger.Entry) error {
	if e.Command.IdempotencyKey == "" {
		return nil
	}
	keys, key := tx.Bucket(bucketKeys), idempotencyKey(e.VM, e.Command.IdempotencyKey)
	if has := keys.Get(key); has != nil && bytes.Compare(tx.Bucket(bucketIDs).Get(has), entryKey(e.VM, e.Seq)) > 0 {
		return nil
	}
	return keys.Put(key, []byte(e.Command.ID))
}

func putArchived(tx *bolt.Tx, e *ledger.Entry, value []byte) error {
	if err := tx.Bucket(bucketSettled).Put(settledKey(e), nil); err != nil {
		return err
	}
	return tx.Bucket(bucketArchive).Put(entryKey(e.VM, e.Seq), value)
}

// changeArchived writes a new state of an entry of the archive. Bytes that could not be read are kept elsewhere before that.
func (l *Ledger) changeArchived(tx *bolt.Tx, before, after *ledger.Entry, value []byte) error {
	key := entryKey(before.VM, before.Seq)
	if err := l.aside.keepArchived(key, tx.Bucket(bucketArchive).Get(key)); err != nil {
		return err
	}
	if err := tx.Bucket(bucketSettled).Delete(settledKey(before)); err != nil {
		return err
	}
	return putArchived(tx, after, value)
}

// listArchived returns up to limit archived entries of a VM with a Seq less than below (0: any), newest first. One of which
// next to nothing can be read is left out.
func (l *Ledger) listArchived(tx *bolt.Tx, vm string, below uint64, limit int) []*ledger.Entry {
	c := tx.Bucket(bucketArchive).Cursor()
	end := append([]byte(vm), 1)
	if below > 0 {
		end = entryKey(vm, below)
	}
	var out []*ledger.Entry
	for key, value := before(c, end); isOf(key, vm) && len(out) < limit; key, value = c.Prev() {
		if e, err := l.readArchived(key, value); err == nil {
			out = append(out, e)
		}
	}
	return out
}

// settledBefore returns up to limit keys of bucketSettled from before then, the oldest first.
func settledBefore(tx *bolt.Tx, then time.Time, limit int) [][]byte {
	end := binary.BigEndian.AppendUint64(nil, uint64(then.UnixNano()))
	var old [][]byte
	c := tx.Bucket(bucketSettled).Cursor()
	for k, _ := c.First(); k != nil && len(old) < limit && bytes.Compare(k[:8], end) < 0; k, _ = c.Next() {
		old = append(old, bytes.Clone(k))
	}
	return old
}

// forget takes an entry out of the archive, and its key out of bucketSettled.
func forget(tx *bolt.Tx, settled []byte, e *ledger.Entry) error {
	if k := e.Command.IdempotencyKey; k != "" && findByKey(tx, e.VM, k) == e.Command.ID { // else a later command has it
		if err := tx.Bucket(bucketKeys).Delete(idempotencyKey(e.VM, k)); err != nil {
			return err
		}
	}
	if err := tx.Bucket(bucketIDs).Delete([]byte(e.Command.ID)); err != nil {
		return err
	}
	if err := tx.Bucket(bucketArchive).Delete(entryKey(e.VM, e.Seq)); err != nil {
		return err
	}
	return tx.Bucket(bucketSettled).Delete(settled)
}

// forgetUnreadable is forget for an entry of which only the key is known: whatever leads to it is looked for, which takes as
// long as there are entries.
func forgetUnreadable(tx *bolt.Tx, key []byte) error {
	ids := keysOf(tx.Bucket(bucketIDs), func(_, value []byte) bool { return bytes.Equal(value, key) })
	errs := []error{tx.Bucket(bucketArchive).Delete(key)}
	for _, id := range ids {
		errs = append(errs, tx.Bucket(bucketIDs).Delete(id))
		for _, k := range keysOf(tx.Bucket(bucketKeys), func(_, value []byte) bool { return bytes.Equal(value, id) }) {
			errs = append(errs, tx.Bucket(bucketKeys).Delete(k))
		}
	}
	for _, settled := range keysOf(tx.Bucket(bucketSettled), func(k, _ []byte) bool { return bytes.Equal(k[min(8, len(k)):], key) }) {
		errs = append(errs, tx.Bucket(bucketSettled).Delete(settled))
	}
	return errors.Join(errs...)
}

// keysOf returns copies of the keys of a bucket that are asked for.
func keysOf(b *bolt.Bucket, is func(key, value []byte) bool) (keys [][]byte) {
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if is(k, v) {
			keys = append(keys, bytes.Clone(k))
		}
	}
	return keys
}
