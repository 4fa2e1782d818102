package bolt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

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

// do hands a request to the writer and waits for the commit. Once the writer has it ctx counts no more: the
// caller has to hear what became of it.
func (l *Ledger) do(ctx context.Context, r *request) error {
	if err := l.usable(ctx); err != nil {
		return err
	}
	r.done = make(chan error, 1)
	if !l.queue.add(r) {
		return ledger.ErrClosed
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		if l.queue.remove(r) {
			return ctx.Err()
		}
		return <-r.done
	}
}

// write commits what is asked for, all that waits at a time.
func (l *Ledger) write() {
	defer close(l.stopped)
	for {
		select {
		case <-l.stop:
			return
		case <-l.queue.some:
			runtime.Gosched() // others may be about to ask for something: one commit then takes it, too
			if batch := l.queue.take(); len(batch) > 0 {
				l.commit(batch)
				clear(batch) // what was asked for may hold secrets
			}
		case <-l.secrets.due.C:
			l.compact()
			l.secrets.again()
		}
	}
}

func (l *Ledger) commit(batch []*request) {
	l.dropArchived(false)
	s, err := l.stage(batch)
	if err == nil {
		err = s.commit()
	}
	if err != nil {
		err = fmt.Errorf("ledger: %w", err)
	} else if s.redacted {
		l.secrets.found()
	}
	l.publish(s, err)
	for _, r := range batch {
		if r.prune == nil {
			r.done <- err
		}
	}
	for _, r := range batch {
		if r.prune != nil {
			r.done <- l.prune(r.prune)
		}
	}
	l.tidy()
}

// stage stages a batch.
func (l *Ledger) stage(batch []*request) (*staging, error) {
	reading, err := l.db.Begin(false)
	if err != nil {
		return nil, err
	}
	s := &staging{tx: reading, l: l, log: l.spare[:0]}
	if err := s.all(batch); err != nil {
		return s, errors.Join(err, s.tx.Rollback())
	}
	return s, nil
}

// commit makes what is staged durable: what changes the archive, which is seldom, and then the rest.
func (s *staging) commit() error {
	if s.tx.Writable() {
		if err := s.tx.Commit(); err != nil {
			return err
		}
	} else if err := s.tx.Rollback(); err != nil { // it was for reading
		return err
	}
	if cap(s.log) <= maxSpare {
		s.l.spare = s.log
	}
	if len(s.log) == 0 {
		return nil
	}
	return s.l.log.Write(s.log)
}

// maxSpare is the largest buffer that is kept for the next commit.
const maxSpare = 4 << 20

// publish shows readers what was committed, notes of the meantime included; a failed commit is taken
// back.
func (l *Ledger) publish(s *staging, err error) {
	l.nextMu.Lock()
	defer l.nextMu.Unlock()
	l.liveMu.Lock()
	defer l.liveMu.Unlock()
	if err != nil {
		l.next = l.live.clone()
		l.seqs, l.recentSeqs = map[string]uint64{}, lastSeqs(l.live)
		return
	}
	for _, e := range s.changed {
		l.live.put(l.next.latest(e))
	}
}

// flush writes what Note has left.
func (l *Ledger) flush() error {
	l.nextMu.Lock()
	defer l.nextMu.Unlock()
	s := &staging{l: l}
	if err := s.notes(time.Now()); err != nil || len(s.log) == 0 {
		return err
	}
	return l.log.Write(s.log)
}

// staging is one commit in the making. Later requests see what earlier ones did.
type staging struct {
	tx      *bolt.Tx // for reading, until something in the archive is to be changed
	l       *Ledger
	log     []byte          // records
	changed []*ledger.Entry // that are recent

	redacted bool // some lose secrets that are in the log
}

// write returns the transaction, for writing.
func (s *staging) write() (*bolt.Tx, error) {
	if s.tx.Writable() {
		return s.tx, nil
	}
	if err := s.tx.Rollback(); err != nil { // first: whoever writes now may wait for those who read
		return nil, err
	}
	tx, err := s.l.db.Begin(true)
	if err != nil {
		return nil, err
	}
	s.tx = tx
	return tx, nil
}

// all stages a batch, and the notes that have waited.
func (s *staging) all(batch []*request) error {
	s.l.nextMu.Lock()
	defer s.l.nextMu.Unlock()
	for _, r := range batch {
		if r.prune != nil {
			continue
		}
		first := len(s.changed)
		if err := s.stage(r); err != nil {
			return err
		}
		if err := s.record(s.changed[first:]); err != nil {
			return err
		}
	}
	return s.notes(time.Now().Add(-noteAge))
}

// record writes new states of entries to the log: all of them count, or none.
func (s *staging) record(entries []*ledger.Entry) (err error) {
	if len(entries) > 0 {
		s.log, err = appendEntries(s.log, entries)
	}
	return err
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
		if r.edited[i] = e.Apply(edit, s.l.redact); r.edited[i].Changed {
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
		a.out, a.err = known.Known(vm, a.cmd, s.l.redact)
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
		after := before.Superseded(a.cmd, a.now, s.l.redact)
		if err := s.put(before, after); err != nil {
			return err
		}
		a.out.Superseded = append(a.out.Superseded, after)
	}
	e := ledger.NewEntry(vm, s.nextSeq(vm), a.cmd, a.now)
	a.out.Entry, a.out.Created = &e, true
	return s.put(nil, &e)
}

// nextSeq is the next number of a VM. The last is known after the first time.
func (s *staging) nextSeq(vm string) uint64 {
	last, ok := s.l.seqs[vm]
	if !ok {
		last = max(lastSeq(s.tx, vm), s.l.recentSeqs[vm])
	}
	s.l.seqs[vm] = last + 1
	return last + 1
}

func (s *staging) known(vm string, cmd command.Command) (*ledger.Entry, error) {
	e, err := s.find(cmd.ID)
	if err == ledger.ErrNotFound && cmd.IdempotencyKey != "" { //nolint:errorlint // our own, unwrapped
		if here := s.l.next.byKey(vm, cmd.IdempotencyKey); here != nil {
			return here, nil
		}
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

// put stages a new state of an entry.
func (s *staging) put(before, after *ledger.Entry) error {
	id := after.Command.ID
	if before != nil && s.l.next.get(id) == nil {
		tx, err := s.write()
		if err != nil {
			return err
		}
		return changeArchived(tx, before, after)
	}
	if before != nil && before.Command != after.Command {
		s.redacted = true
	}
	delete(s.l.dirty, id)
	s.l.next.put(after)
	s.changed = append(s.changed, after)
	return nil
}

// noteAge is how long a note may wait for the command to be settled, which makes it needless. A crash
// meanwhile costs what a crash before any write would: an attempt number is used twice.
const noteAge = 100 * time.Millisecond

// notes stages what was noted up to some time.
func (s *staging) notes(upto time.Time) error {
	for len(s.l.noted) > 0 && !s.l.noted[0].since.After(upto) {
		id := s.l.noted[0].id
		s.l.noted[0] = note{}
		s.l.noted = s.l.noted[1:]
		e := s.l.dirty[id]
		if e == nil {
			continue // was written with more
		}
		if err := s.record([]*ledger.Entry{e}); err != nil {
			return err
		}
		delete(s.l.dirty, id)
	}
	return nil
}
