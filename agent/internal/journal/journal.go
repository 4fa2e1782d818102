// Package journal keeps, in an append-only file, what an agent must not forget when it is killed:
// which commands it holds, which handlers have begun, and what came of them.
//
// A write is durable when it returns; concurrent writes share one fsync. A record that a crash has
// torn is dropped at the next start: it had not returned.
//
// A disk that is full, or fails, may recover: Write fails until then, and the journal goes on after that. A reserve of the
// file's own keeps what is said of commands that are held writable; a file system that writes nothing in place, as btrfs,
// may refuse that, too.
//
// Parameters of commands are in it in the clear, for its owner alone to read. Those of a command that has finished
// are gone when the file is written anew: after stay at the latest, at Close, and at Open after a crash. What cannot be read
// goes to a file beside it, which nobody deletes but its owner; until the disk has room for that, it stays in the journal, which
// is not written anew.
package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/internal/setaside"
	"github.com/miglink/miglink/transport"
)

const (
	fileName   = "journal"
	asideName  = "journal.unreadable"
	minCompact = 1 << 20 // bytes; smaller files are left alone

	// reserve is room on the disk for what is said of commands that are held, when others can have none.
	reserve = 256 << 10

	stay  = time.Hour   // of parameters of commands that have finished
	retry = time.Minute // after the file could not be written anew
)

// Errors of Write. Any other is of the disk, and may pass: nothing was written, and a later Write may succeed.
var (
	ErrFull     = errors.New("the journal is full")
	ErrTooLarge = errors.New("the command alone exceeds the journal's limit")
	ErrClosed   = errors.New("journal: closed")
)

// Journal is safe for concurrent use.
type Journal struct {
	dir   string
	limit int64
	keep  int
	lock  *os.File // nil: the disk had no room for the directory, or for a lock in it

	mu       sync.Mutex
	flushed  sync.Cond
	file     *logfile.File // nil: there was no room for one
	state    *state        // what is on disk
	size     int64         // of file
	next     *batch        // what is to be written
	flushing bool
	compact  int64 // size at which to write the file anew
	closed   bool
	unsaved  []setaside.Record // what cannot be read and is in file alone

	over  bool        // the file holds parameters of commands that have finished
	renew *time.Timer // writes it anew then
}

// batch is what one write and one fsync make durable.
type batch struct {
	received, said, noted part
	done                  chan struct{} // closed when it is written, or not
	receivedErr, saidErr  error         // read after done
}

// part is records of one kind.
type part struct {
	records []Record
	bytes   []byte
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

func (j *Journal) path() string      { return filepath.Join(j.dir, fileName) }
func (j *Journal) asidePath() string { return filepath.Join(j.dir, asideName) }

// Open opens or makes the journal in dir, and returns the commands that it knows, in the order
// received, and the cursor of the last. limit bounds the file in bytes; of the commands whose outcome
// the controller knows, the latest keep are remembered.
func Open(dir string, limit int64, keep int) (*Journal, []Task, transport.Cursor, error) {
	j := &Journal{dir: dir, limit: limit, keep: keep, next: newBatch()}
	j.flushed.L = &j.mu
	j.renew = time.AfterFunc(stay, j.dropParameters)
	j.renew.Stop()
	err := j.takeDir()
	if err == nil {
		err = j.load()
	}
	if err != nil {
		return nil, nil, "", errors.Join(err, j.freeDir())
	}
	tasks := make([]Task, len(j.state.order))
	for i, t := range j.state.order {
		tasks[i] = *t
	}
	return j, tasks, j.state.cursor, nil
}

// Unreadable says how many records the journal held that cannot be read, the IDs of the first, and the path of the file that
// holds them now: each is a line of one beside the journal, or, with setAside false, where the disk has no room for that, they
// are still in the journal's own. There are none, as a rule.
func (j *Journal) Unreadable() (n int, ids []string, path string, setAside bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n, ids = len(j.state.aside), setaside.IDs(j.state.aside)
	if len(j.unsaved) > 0 {
		return n, ids, j.path(), false
	}
	return n, ids, j.asidePath(), true
}

// load reads what there is and writes it anew, compacted. What it cannot read is kept in a file of its own before that.
// Where the disk has no room for that, the file stays as it is, or is made later.
func (j *Journal) load() error {
	b, err := os.ReadFile(j.path())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("journal: %w", err)
	}
	var size int64
	if j.state, size, err = read(b); err != nil {
		return fmt.Errorf("%w (%s; move it away to start without what it knows)", err, j.path())
	}
	j.unsaved = j.state.aside
	if err = j.rewrite(); err == nil || !logfile.NoRoom(err) {
		return wrap(err)
	}
	j.compact = minCompact
	if size == 0 {
		return nil
	}
	j.file, err = logfile.Open(j.path(), size, reserve)
	j.size = size
	return wrap(err)
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// Write makes records durable, all of received commands, or none. Over the limit it returns ErrFull, or ErrTooLarge, for
// received commands and writes nothing; what is said of commands that are held already always fits, also on a disk that is
// full, as long as the reserve lasts.
func (j *Journal) Write(records ...Record) error {
	var p part
	if err := p.add(records...); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return ErrClosed
	}
	b := j.next
	if len(records) == 0 {
		return nil
	}
	if records[0].Received != nil {
		if err := j.makeRoom(int64(len(p.bytes))); err != nil {
			return err
		}
		b = j.next // another, where the file was written anew
		b.received.join(p)
	} else {
		b.said.join(p)
	}
	for {
		select {
		case <-b.done:
			j.tidy()
			if records[0].Received != nil {
				return wrap(b.receivedErr)
			}
			return wrap(b.saidErr)
		default:
		}
		if j.flushing {
			j.flushed.Wait()
		} else {
			j.flush()
		}
	}
}

// Note writes records of what is said along with the next Write, or at Close.
func (j *Journal) Note(records ...Record) error {
	var p part
	if err := p.add(records...); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return ErrClosed
	}
	j.next.noted.join(p)
	return nil
}

func (p *part) add(records ...Record) error {
	for _, r := range records {
		var err error
		if p.bytes, err = appendRecord(p.bytes, r); err != nil {
			return wrap(err)
		}
	}
	p.records = records
	return nil
}

func (p *part) join(o part) {
	p.records = append(p.records, o.records...)
	p.bytes = append(p.bytes, o.bytes...)
}

// makeRoom looks whether so many bytes of received commands are within the limit. mu is locked, and may not be meanwhile.
func (j *Journal) makeRoom(more int64) error {
	if int64(len(header))+more > j.limit {
		return ErrTooLarge
	}
	pending := func() int64 {
		return int64(len(j.next.received.bytes) + len(j.next.said.bytes) + len(j.next.noted.bytes))
	}
	if j.size+pending()+more <= j.limit {
		return nil
	}
	j.settle()
	if !j.closed {
		j.flush()
		_ = j.rewrite() // at worst there is no more room than before
	}
	switch {
	case j.closed:
		return ErrClosed
	case j.size+pending()+more > j.limit:
		return ErrFull
	}
	return nil
}

// settle waits until nobody flushes, so that the file may be replaced.
func (j *Journal) settle() {
	for j.flushing {
		j.flushed.Wait()
	}
}

// flush writes the next batch. It is called, and returns, with mu locked, but does not hold it meanwhile.
func (j *Journal) flush() {
	b := j.next
	j.next, j.flushing = newBatch(), true
	if j.file == nil || j.file.Failed() != nil {
		b.receivedErr = j.rewrite() // what is on disk is known again
		b.saidErr = b.receivedErr
	}
	if b.saidErr == nil {
		file := j.file
		j.mu.Unlock()
		b.write(file)
		j.mu.Lock()
	}
	j.flushing = false
	if j.file != nil {
		j.size = j.file.Size()
	}
	if b.receivedErr == nil {
		j.apply(b.received.records)
	}
	if b.saidErr == nil {
		j.apply(b.said.records)
		j.apply(b.noted.records)
	} else {
		b.noted.join(j.next.noted)
		j.next.noted = b.noted
	}
	close(b.done)
	j.flushed.Broadcast()
}

// write writes a batch. What is said is written also where there is no room for what was received.
func (b *batch) write(file *logfile.File) {
	said := append(b.said.bytes, b.noted.bytes...)
	if len(b.received.bytes) > 0 {
		if b.receivedErr = file.Write(append(b.received.bytes, said...)); b.receivedErr == nil {
			return
		}
	}
	if len(said) > 0 {
		b.saidErr = file.WriteReserved(said)
	}
}

func (j *Journal) apply(records []Record) {
	for _, r := range records {
		j.state.apply(r)
		if r.Finished != nil && !j.over {
			j.over = true
			j.renew.Reset(stay)
		}
	}
}

// tidy writes a file that has grown anew. mu is locked.
func (j *Journal) tidy() {
	if j.size <= j.compact {
		return
	}
	j.settle()
	if !j.closed && j.size > j.compact && j.rewrite() != nil {
		j.compact = j.size + minCompact // there is no room for another now
	}
}

// rewrite replaces the file by one that says the same in fewer records. What cannot be read is not in it, so it must be in a
// file of its own before. mu is locked and nobody flushes, or nobody else knows j yet.
func (j *Journal) rewrite() error {
	if err := j.takeDirLater(); err != nil {
		return err
	}
	if err := setaside.Append(j.asidePath(), j.unsaved); err != nil {
		return err
	}
	j.unsaved = nil
	j.state.forget(j.keep)
	b, err := j.state.encode()
	if err != nil {
		return err
	}
	file, err := logfile.Create(j.path(), header, b, reserve)
	if err != nil {
		return err
	}
	if j.file != nil {
		j.file.Close()
	}
	j.file, j.size = file, file.Size()
	j.over = false
	j.renew.Stop()
	j.compact = max(minCompact, 4*j.size)
	return file.Failed()
}

// dropParameters writes the file anew when its time has come. If that fails the old file is as it was, and serves.
func (j *Journal) dropParameters() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.settle()
	if !j.closed && j.over && j.rewrite() != nil {
		j.renew.Reset(retry)
	}
}

// Close writes what was noted and gives the directory free.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.settle()
	if j.closed {
		return nil
	}
	b := j.next
	j.flush()
	err := b.saidErr
	if j.file == nil && len(b.noted.records) == 0 && logfile.NoRoom(err) {
		err = nil // nothing was to be written but the first file
	}
	if err == nil && j.over {
		if err = j.rewrite(); logfile.NoRoom(err) { // Open does it
			err = nil
		}
	}
	j.closed = true
	j.renew.Stop()
	if j.file != nil {
		err = errors.Join(err, j.file.Close())
	}
	return errors.Join(wrap(err), j.freeDir())
}
