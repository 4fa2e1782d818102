package bolt

import (
	"bytes"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/miglink/miglink/ledger"
)

// The buckets. The key of an entry is its VM, a zero byte (which no name of a VM holds) and its Seq as
// eight bytes, big-endian: the entries of a VM stand together, in order. A command is written when it is
// sent and when it is settled, with two keys more the first time and one the second: keys are most of
// what a command costs on disk.
var (
	bucketMeta    = []byte("meta")
	bucketPending = []byte("pending") // key → JSON of an entry that is not settled
	bucketEntries = []byte("entries") // key → JSON of one that is
	bucketSettled = []byte("settled") // UpdatedAt and key → nothing; of settled entries
	bucketIDs     = []byte("ids")     // command ID → key
	bucketKeys    = []byte("keys")    // VM, zero byte, idempotency key → key
	bucketVMs     = []byte("vms")     // VM → a Seq; it has used no higher one that is not that of an entry

	allBuckets = [][]byte{bucketMeta, bucketPending, bucketEntries, bucketSettled, bucketIDs, bucketKeys, bucketVMs}

	metaFormat = []byte("format")
	metaEpoch  = []byte("epoch")
)

func entryKey(vm string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(vm), 0), seq)
}

func idempotencyKey(vm, key string) []byte { return []byte(vm + "\x00" + key) }

func settledKey(e *ledger.Entry) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(e.UpdatedAt.UnixNano()))
	return append(b, entryKey(e.VM, e.Seq)...)
}

// findSettled returns the settled entry of a command.
func findSettled(tx *bolt.Tx, id string) (*ledger.Entry, error) {
	return settledAt(tx, tx.Bucket(bucketIDs).Get([]byte(id)))
}

func settledAt(tx *bolt.Tx, key []byte) (*ledger.Entry, error) {
	if key == nil {
		return nil, ledger.ErrNotFound
	}
	value := tx.Bucket(bucketEntries).Get(key)
	if value == nil {
		return nil, ledger.ErrNotFound
	}
	return decodeEntry(value)
}

// findByKey returns the ID of the command that has an idempotency key; empty: there is none.
func findByKey(tx *bolt.Tx, vm, key string) string {
	return string(tx.Bucket(bucketKeys).Get(idempotencyKey(vm, key)))
}

// lastSeq is the highest that a VM has used.
func lastSeq(tx *bolt.Tx, vm string) uint64 {
	var last uint64
	if b := tx.Bucket(bucketVMs).Get([]byte(vm)); len(b) == 8 {
		last = binary.BigEndian.Uint64(b)
	}
	for _, bucket := range [][]byte{bucketPending, bucketEntries} {
		if key, _ := before(tx.Bucket(bucket).Cursor(), append([]byte(vm), 1)); isOf(key, vm) {
			last = max(last, binary.BigEndian.Uint64(key[len(key)-8:]))
		}
	}
	return last
}

func isOf(key []byte, vm string) bool {
	return len(key) == len(vm)+9 && string(key[:len(vm)]) == vm && key[len(vm)] == 0
}

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

func insertEntry(tx *bolt.Tx, e *ledger.Entry) error {
	key := entryKey(e.VM, e.Seq)
	if err := tx.Bucket(bucketIDs).Put([]byte(e.Command.ID), key); err != nil {
		return err
	}
	if k := e.Command.IdempotencyKey; k != "" {
		if err := tx.Bucket(bucketKeys).Put(idempotencyKey(e.VM, k), []byte(e.Command.ID)); err != nil {
			return err
		}
	}
	return writeEntry(tx, e)
}

// usualEntry is about what takes most room, in bytes. A transaction keeps what is put until its end.
const usualEntry = 640

// writeEntry writes an entry to where it belongs.
func writeEntry(tx *bolt.Tx, e *ledger.Entry) error {
	v, err := appendEntry(make([]byte, 0, usualEntry), e)
	if err != nil {
		return err
	}
	bucket := bucketPending
	if e.State.Settled() {
		bucket = bucketEntries
	}
	return tx.Bucket(bucket).Put(entryKey(e.VM, e.Seq), v)
}

// updateEntry writes a new state, and moves the entry where it is settled now.
func updateEntry(tx *bolt.Tx, before, after *ledger.Entry) error {
	settled := tx.Bucket(bucketSettled)
	switch {
	case before.State.Settled():
		if err := settled.Delete(settledKey(before)); err != nil {
			return err
		}
	case after.State.Settled():
		if err := tx.Bucket(bucketPending).Delete(entryKey(after.VM, after.Seq)); err != nil {
			return err
		}
	}
	if after.State.Settled() {
		if err := settled.Put(settledKey(after), nil); err != nil {
			return err
		}
	}
	return writeEntry(tx, after)
}

// listSettled returns up to limit settled entries of a VM with a Seq less than below (0: any), newest first.
func listSettled(tx *bolt.Tx, vm string, below uint64, limit int) ([]*ledger.Entry, error) {
	c := tx.Bucket(bucketEntries).Cursor()
	end := append([]byte(vm), 1)
	if below > 0 {
		end = entryKey(vm, below)
	}
	var out []*ledger.Entry
	for key, value := before(c, end); isOf(key, vm) && len(out) < limit; key, value = c.Prev() {
		e, err := decodeEntry(value)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// pruneEntries forgets up to limit entries that settled before then.
func pruneEntries(tx *bolt.Tx, then time.Time, limit int) (int, error) {
	end := binary.BigEndian.AppendUint64(nil, uint64(then.UnixNano()))
	var old [][]byte
	c := tx.Bucket(bucketSettled).Cursor()
	for k, _ := c.First(); k != nil && len(old) < limit && bytes.Compare(k[:8], end) < 0; k, _ = c.Next() {
		old = append(old, bytes.Clone(k))
	}
	for _, k := range old {
		key := k[8:]
		e, err := settledAt(tx, key)
		if err != nil {
			return 0, err
		}
		if err := noteSeq(tx, e.VM, lastSeq(tx, e.VM)); err != nil { // it may be the last that is left
			return 0, err
		}
		if k := e.Command.IdempotencyKey; k != "" {
			if err := tx.Bucket(bucketKeys).Delete(idempotencyKey(e.VM, k)); err != nil {
				return 0, err
			}
		}
		if err := tx.Bucket(bucketIDs).Delete([]byte(e.Command.ID)); err != nil {
			return 0, err
		}
		if err := tx.Bucket(bucketEntries).Delete(key); err != nil {
			return 0, err
		}
		if err := tx.Bucket(bucketSettled).Delete(k); err != nil {
			return 0, err
		}
	}
	return len(old), nil
}
