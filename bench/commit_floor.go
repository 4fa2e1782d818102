package bench

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// commitFloor stands for a bare commit among the bare loops.
const commitFloor = "commit"

// commits is how many bare commits a round trip with the ledger on disk is compared with, beside the bare round
// trip.
const commits = 3

// entrySize is about that of a ledger's entry.
const entrySize = 300

// bareCommit is one small value put into a bbolt file, and on disk: what a durable step takes at least. Its file is
// opened as the ledger opens its own.
func bareCommit(context.Context, *Options, int) (*loop, error) {
	l := &loop{}
	dir, err := os.MkdirTemp("", "miglink-bench-")
	if err != nil {
		return l, err
	}
	l.clean.add(func() { os.RemoveAll(dir) })
	db, err := bolt.Open(filepath.Join(dir, "bare.db"), 0o600, &bolt.Options{NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return l, err
	}
	l.clean.add(func() { db.Close() })
	n, value := uint64(0), make([]byte, entrySize)
	l.roundTrip = func(context.Context) error {
		n++
		return db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("entries"))
			if err != nil {
				return err
			}
			return b.Put(binary.BigEndian.AppendUint64(nil, n), value)
		})
	}
	return l, nil
}
