package bolt

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/ledger"
)

// The buckets. The key of an entry is its VM, a zero byte (which no name of a VM holds) and its Seq as
// eight bytes, big-endian: the entries of a VM stand together, in order.
var (
	bucketMeta    = []byte("meta")
	bucketEntries = []byte("entries") // key → JSON of the entry
	bucketPending = []byte("pending") // key → nothing; of unsettled entries
	bucketSettled = []byte("settled") // UpdatedAt and key → nothing; of settled entries
	bucketIDs     = []byte("ids")     // command ID → key
	bucketKeys    = []byte("keys")    // VM, zero byte, idempotency key → key
	bucketVMs     = []byte("vms")     // VM → the last Seq

	allBuckets = [][]byte{bucketMeta, bucketEntries, bucketPending, bucketSettled, bucketIDs, bucketKeys, bucketVMs}

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

func decodeEntry(b []byte) (*ledger.Entry, error) {
	var e ledger.Entry
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("an entry does not decode: %w", err)
	}
	return &e, nil
}

func findEntry(tx *bolt.Tx, id string) (*ledger.Entry, error) {
	return entryAt(tx, tx.Bucket(bucketIDs).Get([]byte(id)))
}

func findByKey(tx *bolt.Tx, vm, key string) (*ledger.Entry, error) {
	return entryAt(tx, tx.Bucket(bucketKeys).Get(idempotencyKey(vm, key)))
}

func entryAt(tx *bolt.Tx, key []byte) (*ledger.Entry, error) {
	if key == nil {
		return nil, ledger.ErrNotFound
	}
	return decodeEntry(tx.Bucket(bucketEntries).Get(key))
}

func nextSeq(tx *bolt.Tx, vm string) (uint64, error) {
	b := tx.Bucket(bucketVMs)
	seq := uint64(1)
	if last := b.Get([]byte(vm)); len(last) == 8 {
		seq = binary.BigEndian.Uint64(last) + 1
	}
	return seq, b.Put([]byte(vm), binary.BigEndian.AppendUint64(nil, seq))
}

func insertEntry(tx *bolt.Tx, e *ledger.Entry) error {
	key := entryKey(e.VM, e.Seq)
	if err := tx.Bucket(bucketIDs).Put([]byte(e.Command.ID), key); err != nil {
		return err
	}
	if k := e.Command.IdempotencyKey; k != "" {
		if err := tx.Bucket(bucketKeys).Put(idempotencyKey(e.VM, k), key); err != nil {
			return err
		}
	}
	if err := tx.Bucket(bucketPending).Put(key, nil); err != nil {
		return err
	}
	return writeEntry(tx, key, e)
}

func writeEntry(tx *bolt.Tx, key []byte, e *ledger.Entry) error {
	v, err := wirejson.Marshal(e)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketEntries).Put(key, v)
}

// updateEntry writes a new state, and moves the entry between pending and settled.
func updateEntry(tx *bolt.Tx, before, after *ledger.Entry) error {
	key := entryKey(after.VM, after.Seq)
	settled := tx.Bucket(bucketSettled)
	if before.State.Settled() {
		if err := settled.Delete(settledKey(before)); err != nil {
			return err
		}
	}
	if after.State.Settled() {
		if err := tx.Bucket(bucketPending).Delete(key); err != nil {
			return err
		}
		if err := settled.Put(settledKey(after), nil); err != nil {
			return err
		}
	}
	return writeEntry(tx, key, after)
}

func listEntries(tx *bolt.Tx, vm string, before uint64, limit int) ([]*ledger.Entry, error) {
	prefix := append([]byte(vm), 0)
	c := tx.Bucket(bucketEntries).Cursor()
	// The first key that is not wanted; what is wanted stands before it.
	end := append([]byte(vm), 1)
	if before > 0 {
		end = entryKey(vm, before)
	}
	step := c.Prev
	if key, _ := c.Seek(end); key == nil {
		step = c.Last
	}
	var out []*ledger.Entry
	for key, value := step(); key != nil && bytes.HasPrefix(key, prefix) && len(out) < limit; key, value = c.Prev() {
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
		e, err := entryAt(tx, key)
		if err != nil {
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
