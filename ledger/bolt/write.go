package bolt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/internal/safely"
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
	s := &staging{tx: reading, l: l, log: l.spare[:0], lines: l.spareLine[:0]}
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
	if cap(s.lines) <= maxSpare {
		s.l.spareLine = s.lines
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
		if s != nil {
			s.takeBack()
		}
		return
	}
	for _, e := range s.changed {
		l.live.put(l.next.latest(e))
	}
}

// takeBack makes next, and what goes with it, what it was before s was staged: what is live, since all else is the same in
// both. It takes as long as what was staged is much, not as what waits is. nextMu and liveMu are locked.
func (s *staging) takeBack() {
	l := s.l
	for _, e := range slices.Backward(s.changed) { // a key that went from one to the next goes back the same way
		before := l.live.get(e.Command.ID)
		l.next.restore(e.Command.ID, before)
		if before == nil { // it was new: its number is free again
			l.seqs[e.VM] = min(l.seqs[e.VM], e.Seq-1)
		}
	}
	for _, id := range s.cleaned {
		if e := l.next.get(id); e != nil {
			l.dirty[id] = e
			l.noted = append(l.noted, note{id, time.Now()})
		}
	}
}

// flush writes what Note has left.
func (l *Ledger) flush() error {
	l.nextMu.Lock()
	defer l.nextMu.Unlock()
	s := &staging{l: l}
	if s.notes(time.Now()); len(s.log) == 0 {
		return nil
	}
	return l.log.Write(s.log)
}

// staging is one commit in the making. Later requests see what earlier ones did.
type staging struct {
	tx      *bolt.Tx // for reading, until something in the archive is to be changed
	l       *Ledger
	log     []byte          // records
	lines   []byte          // of the request that is being staged: the new states of entries, see record
	changed []*ledger.Entry // that are recent
	cleaned []string        // commands whose notes are written with it

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

// all stages a batch, and the notes that have waited. An error is that of the store, and of all requests; what is wrong with
// one request is its own matter, and it leaves nothing behind.
func (s *staging) all(batch []*request) error {
	s.l.nextMu.Lock()
	defer s.l.nextMu.Unlock()
	for _, r := range batch {
		if r.prune != nil {
			continue
		}
		s.lines = s.lines[:0]
		if err := s.stage(r); err != nil {
			return err
		}
		s.record()
	}
	s.notes(time.Now().Add(-noteAge))
	return nil
}

// record writes the lines to the log as one record: all of them count, or none.
func (s *staging) record() {
	if len(s.lines) > 0 {
		s.log, _ = logfile.Append(s.log, func(b []byte) ([]byte, error) { return append(b, s.lines...), nil }) // which does not fail
	}
}

func (s *staging) stage(r *request) error {
	if r.add != nil {
		s.append(r.vm, r.add)
		return nil
	}
	r.edited = make([]ledger.Edited, len(r.edits))
	for i, edit := range r.edits {
		e, err := s.find(edit.ID)
		if err == nil && e.VM != r.vm {
			err = ledger.ErrNotFound
		}
		if err != nil {
			r.edited[i].Err = err
			continue
		}
		made := e.Apply(edit, s.l.redact)
		if made.Changed {
			refused, err := s.put(e, made.Entry)
			if err != nil {
				return err
			}
			if refused != nil {
				made = ledger.Edited{Entry: e, Err: refused}
			}
		}
		r.edited[i] = made
	}
	return nil
}

// find returns an entry as earlier requests and notes have left it.
func (s *staging) find(id string) (*ledger.Entry, error) {
	if e := s.l.next.get(id); e != nil {
		return e, nil
	}
	return s.l.findArchived(s.tx, id)
}

// append stages a new command. Nothing of it is staged until all of it has been encoded.
func (s *staging) append(vm string, a *addition) {
	var p plan
	if a.err = safely.Do(func() (err error) { // Redact is the user's
		p, err = s.plan(vm, a)
		return err
	}); a.err != nil || p.entry == nil {
		return
	}
	for _, e := range p.superseded {
		if a.err == nil {
			s.lines, a.err = appendLine(s.lines, e)
		}
	}
	if a.err == nil {
		s.lines, a.err = appendLine(s.lines, p.entry)
	}
	if a.err != nil {
		s.lines = s.lines[:0]
		return
	}
	for i, e := range p.superseded {
		s.putRecent(p.before[i], e)
	}
	s.putRecent(nil, p.entry)
	s.l.seqs[vm] = p.entry.Seq
	a.out = ledger.Appended{Entry: p.entry, Created: true, Superseded: p.superseded}
}

// plan is what a new command changes.
type plan struct {
	entry              *ledger.Entry // nil: it was there
	before, superseded []*ledger.Entry
}

func (s *staging) plan(vm string, a *addition) (p plan, err error) {
	known, err := s.known(vm, a.cmd)
	if err != nil {
		return p, err
	}
	if known != nil { // without an entry its key is free
		if a.out, err = known.Known(vm, a.cmd, a.limits, s.l.redact); err != nil || a.out.Entry != nil {
			return p, err
		}
	}
	commands, bytes := s.l.next.Load(vm)
	for _, n := range s.l.next.Supersedable(vm, a.cmd) {
		if err := a.limits.Ends(n.Entry()); err != nil {
			return p, err // of this request alone: others of the commit go on
		}
		before := n.Entry()
		commands--
		bytes -= len(before.Command.Parameters)
		p.before = append(p.before, before)
		p.superseded = append(p.superseded, before.Superseded(a.cmd, a.now, s.l.redact))
	}
	if err := a.limits.Check(commands, bytes, a.cmd); err != nil {
		return p, err
	}
	e := a.limits.New(vm, s.nextSeq(vm), a.cmd, a.now)
	if err := e.Readable(nil); err != nil {
		return p, err
	}
	p.entry = e
	return p, nil
}

// nextSeq is the next number of a VM. The last is known after the first time.
func (s *staging) nextSeq(vm string) uint64 {
	if last, ok := s.l.seqs[vm]; ok {
		return last + 1
	}
	if last := max(lastSeq(s.tx, vm), s.l.recentSeqs[vm]); last > 0 {
		return last + 1
	}
	return highestSeq(s.tx) + 1
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

// put stages a new state of an entry. What cannot be encoded is refused, and nothing is changed; an error is the store's.
func (s *staging) put(before, after *ledger.Entry) (refused, err error) {
	if s.l.next.get(after.Command.ID) == nil {
		value, refused := appendEntry(make([]byte, 0, usualEntry), after)
		if refused != nil {
			return refused, nil
		}
		tx, err := s.write()
		if err != nil {
			return nil, err
		}
		return nil, s.l.changeArchived(tx, before, after, value)
	}
	if s.lines, refused = appendLine(s.lines, after); refused != nil {
		return refused, nil
	}
	s.putRecent(before, after)
	return nil, nil
}

// putRecent stages a new state, whose line is written, of an entry that is recent; before is nil for a new one.
func (s *staging) putRecent(before, after *ledger.Entry) {
	if before != nil && before.Command != after.Command {
		s.redacted = true
	}
	s.clean(after.Command.ID)
	s.l.next.put(after)
	s.changed = append(s.changed, after)
}

// clean notes that what was noted of a command is written.
func (s *staging) clean(id string) {
	if s.l.dirty[id] != nil {
		delete(s.l.dirty, id)
		s.cleaned = append(s.cleaned, id)
	}
}

// noteAge is how long a note may wait for the command to be settled, which makes it needless. A crash
// meanwhile costs what a crash before any write would: an attempt number is used twice.
const noteAge = 100 * time.Millisecond

// notes stages what was noted up to some time.
func (s *staging) notes(upto time.Time) {
	for len(s.l.noted) > 0 && !s.l.noted[0].since.After(upto) {
		id := s.l.noted[0].id
		s.l.noted[0] = note{}
		s.l.noted = s.l.noted[1:]
		e := s.l.dirty[id]
		if e == nil {
			continue // was written with more
		}
		s.clean(id)
		var err error
		if s.lines, err = appendLine(s.lines[:0], e); err != nil {
			s.l.aside.log.Error("ledger: what was noted of a command cannot be written", "command_id", id, "vm_id", e.VM, "error", err)
			continue
		}
		s.record()
	}
}
