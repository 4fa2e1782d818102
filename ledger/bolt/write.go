package bolt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

// maxBatch is how many requests one transaction takes.
const maxBatch = 1024

// request asks the writer for one thing: an addition, edits or a pruning.
type request struct {
	vm     string
	add    *addition
	edits  []ledger.Edit
	edited []ledger.Edited
	prune  *pruning
	done   chan error // of the store; holds one
}

type addition struct {
	cmd    command.Command
	limits ledger.Limits
	now    time.Time
	out    ledger.Appended
	err    error // of the request
}

type pruning struct {
	then  time.Time
	limit int
	n     int
}

// do hands a request to the writer and waits for the commit. Once it is handed over ctx counts no more:
// the caller has to hear what became of it.
func (l *Ledger) do(ctx context.Context, r *request) error {
	if err := l.usable(ctx); err != nil {
		return err
	}
	r.done = make(chan error, 1)
	select {
	case l.requests <- r:
	case <-l.stop:
		return ledger.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-r.done
}

// write commits what is asked for, all that waits at a time.
func (l *Ledger) write() {
	defer close(l.stopped)
	for {
		select {
		case <-l.stop:
			return
		case r := <-l.requests:
			l.commit(l.gather(r))
		}
	}
}

// gather takes the requests that wait besides r.
func (l *Ledger) gather(r *request) []*request {
	batch := []*request{r}
	for len(batch) < maxBatch {
		select {
		case r := <-l.requests:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

func (l *Ledger) commit(batch []*request) {
	s, err := l.transact(batch)
	if err != nil {
		err = fmt.Errorf("ledger: %w", err)
	}
	l.publish(s, err)
	for _, r := range batch {
		r.done <- err
	}
}

// transact carries out a batch in one transaction. If nothing changes there is none.
func (l *Ledger) transact(batch []*request) (*staging, error) {
	reading, err := l.db.Begin(false)
	if err != nil {
		return nil, err
	}
	s := &staging{tx: reading, l: l}
	if err := s.all(batch); err != nil || !s.tx.Writable() {
		return s, errors.Join(err, s.tx.Rollback())
	}
	return s, s.tx.Commit()
}

// publish shows readers what was committed, notes of the meantime included; a failed commit is taken
// back.
func (l *Ledger) publish(s *staging, err error) {
	l.nextMu.Lock()
	defer l.nextMu.Unlock()
	l.liveMu.Lock()
	defer l.liveMu.Unlock()
	if err != nil {
		l.next, l.seqs = l.live.clone(), map[string]uint64{}
		return
	}
	for _, e := range s.changed {
		l.live.put(l.next.latest(e))
	}
	l.live.drop(s.archived)
	l.next.drop(s.archived)
}

// flush writes what Note has left.
func (l *Ledger) flush() error {
	l.nextMu.Lock()
	defer l.nextMu.Unlock()
	if len(l.dirty) == 0 {
		return nil
	}
	return l.db.Update(func(tx *bolt.Tx) error {
		return (&staging{tx: tx, l: l}).notes(time.Now())
	})
}

// staging is one transaction in the making. Later requests see what earlier ones did.
type staging struct {
	tx       *bolt.Tx // for reading, until something is to be written
	l        *Ledger
	changed  []*ledger.Entry // that are recent
	archived []string        // IDs of what is not recent any more
}

// write returns the transaction, for writing. One that is taken back costs a look at all pages of the
// file, so it begins when it is needed.
func (s *staging) write() (*bolt.Tx, error) {
	if s.tx.Writable() {
		return s.tx, nil
	}
	tx, err := s.l.db.Begin(true)
	if err != nil {
		return nil, err
	}
	_ = s.tx.Rollback() // it was for reading
	s.tx = tx
	return tx, nil
}

// all stages a batch, and the notes that have waited.
func (s *staging) all(batch []*request) error {
	s.l.nextMu.Lock()
	defer s.l.nextMu.Unlock()
	var prunings []*pruning
	for _, r := range batch {
		if r.prune != nil {
			prunings = append(prunings, r.prune)
		} else if err := s.stage(r); err != nil {
			return err
		}
	}
	if len(s.l.next.settled) >= archiveAt || len(prunings) > 0 {
		if err := s.archive(); err != nil {
			return err
		}
	}
	for _, p := range prunings { // of the archive, which nothing else touches any more
		if old := settledBefore(s.tx, p.then, p.limit); len(old) > 0 {
			if err := s.forget(old); err != nil {
				return err
			}
			p.n = len(old)
		}
	}
	return s.notes(time.Now().Add(-noteAge))
}

// archiveAt is how many settled entries wait to be archived together.
const archiveAt = 512

// archive moves what is settled to the archive. It stays among the recent until that is on disk.
func (s *staging) archive() error {
	if len(s.l.next.settled) == 0 {
		return nil
	}
	tx, err := s.write()
	if err != nil {
		return err
	}
	s.archived = slices.Clone(s.l.next.settled)
	for _, id := range s.archived {
		if err := archive(tx, s.l.next.get(id)); err != nil {
			return err
		}
	}
	return nil
}

func (s *staging) stage(r *request) error {
	if r.add != nil {
		return s.append(r.vm, r.add)
	}
	r.edited = make([]ledger.Edited, len(r.edits))
	for i, edit := range r.edits {
		e, err := s.find(edit.ID)
		if err == ledger.ErrNotFound || err == nil && e.VM != r.vm { //nolint:errorlint // our own, unwrapped
			r.edited[i].Err = ledger.ErrNotFound
			continue
		}
		if err != nil {
			return err
		}
		if r.edited[i] = e.Apply(edit); r.edited[i].Changed {
			if err := s.put(e, r.edited[i].Entry); err != nil {
				return err
			}
		}
	}
	return nil
}

// find returns an entry as earlier requests and notes have left it.
func (s *staging) find(id string) (*ledger.Entry, error) {
	if e := s.l.next.get(id); e != nil {
		return e, nil
	}
	return findArchived(s.tx, id)
}

func (s *staging) append(vm string, a *addition) error {
	known, err := s.known(vm, a.cmd)
	if err != nil {
		return err
	}
	if known != nil {
		a.out, a.err = known.Known(vm, a.cmd)
		return nil
	}
	old := s.l.next.Supersedable(vm, a.cmd)
	commands, bytes := s.l.next.Load(vm)
	for _, n := range old {
		commands--
		bytes -= len(n.Entry().Command.Parameters)
	}
	if a.err = a.limits.Check(commands, bytes, a.cmd); a.err != nil {
		return nil
	}
	for _, n := range old {
		before := n.Entry()
		after := before.Superseded(a.cmd, a.now)
		if err := s.put(before, after); err != nil {
			return err
		}
		a.out.Superseded = append(a.out.Superseded, after)
	}
	seq, err := s.nextSeq(vm)
	if err != nil {
		return err
	}
	e := ledger.NewEntry(vm, seq, a.cmd, a.now)
	if k := a.cmd.IdempotencyKey; k != "" {
		tx, err := s.write()
		if err != nil {
			return err
		}
		if err := tx.Bucket(bucketKeys).Put(idempotencyKey(vm, k), []byte(a.cmd.ID)); err != nil {
			return err
		}
	}
	a.out.Entry, a.out.Created = &e, true
	return s.put(nil, &e)
}

// nextSeq is the next number of a VM. The last is known after the first time.
func (s *staging) nextSeq(vm string) (uint64, error) {
	last, err := s.lastSeq(vm)
	if err != nil {
		return 0, err
	}
	if last == 0 {
		tx, err := s.write()
		if err == nil {
			err = noteSeq(tx, vm, 0) // there is such a VM
		}
		if err != nil {
			return 0, err
		}
	}
	s.l.seqs[vm] = last + 1
	return last + 1, nil
}

// lastSeq is the latest number of a VM. It looks at what is committed: a cursor may not come back from
// a bucket of which the transaction has deleted all.
func (s *staging) lastSeq(vm string) (uint64, error) {
	if last, ok := s.l.seqs[vm]; ok {
		return last, nil
	}
	var last uint64
	err := s.l.db.View(func(tx *bolt.Tx) error {
		last = lastSeq(tx, vm)
		return nil
	})
	s.l.seqs[vm] = last
	return last, err
}

// forget forgets the archived entries of keys of bucketSettled, but not which numbers were used.
func (s *staging) forget(old [][]byte) error {
	tx, err := s.write()
	if err != nil {
		return err
	}
	for _, k := range old {
		e, err := archivedAt(tx, k[8:])
		if err != nil {
			return err
		}
		last, err := s.lastSeq(e.VM)
		if err == nil {
			err = noteSeq(tx, e.VM, last)
		}
		if err == nil {
			err = forget(tx, k, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *staging) known(vm string, cmd command.Command) (*ledger.Entry, error) {
	e, err := s.find(cmd.ID)
	if err == ledger.ErrNotFound && cmd.IdempotencyKey != "" { //nolint:errorlint // our own, unwrapped
		if id := findByKey(s.tx, vm, cmd.IdempotencyKey); id != "" {
			e, err = s.find(id)
		}
	}
	switch {
	case err == ledger.ErrNotFound: //nolint:errorlint // our own, unwrapped
		return nil, nil
	case err != nil:
		return nil, err
	}
	return e, nil
}

// put writes a new state of an entry.
func (s *staging) put(before, after *ledger.Entry) error {
	tx, err := s.write()
	if err != nil {
		return err
	}
	id := after.Command.ID
	if before != nil && s.l.next.get(id) == nil {
		return changeArchived(tx, before, after)
	}
	if err := putRecent(tx, after); err != nil {
		return err
	}
	delete(s.l.dirty, id)
	s.l.next.put(after)
	s.changed = append(s.changed, after)
	return nil
}

// noteAge is how long a note may wait for the command to be settled, which makes it needless. A crash
// meanwhile costs what a crash before any write would: an attempt number is used twice.
const noteAge = 100 * time.Millisecond

// notes adds what was noted up to some time to the transaction.
func (s *staging) notes(upto time.Time) error {
	for len(s.l.noted) > 0 && !s.l.noted[0].since.After(upto) {
		id := s.l.noted[0].id
		s.l.noted[0] = note{}
		s.l.noted = s.l.noted[1:]
		e := s.l.dirty[id]
		if e == nil {
			continue // was written with more
		}
		tx, err := s.write()
		if err == nil {
			err = putRecent(tx, e)
		}
		if err != nil {
			return err
		}
		delete(s.l.dirty, id)
	}
	return nil
}
