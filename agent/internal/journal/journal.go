// Package journal keeps, in an append-only file, what an agent must not forget when it is killed:
// which commands it holds, which handlers have begun, and what came of them.
//
// A write is durable when it returns; concurrent writes share one fsync. A record that a crash has
// torn is dropped at the next start: it had not returned.
//
// Parameters of commands are in it in the clear, for its owner alone to read. Those of a command that has finished
// are gone when the file is written anew: after stay at the latest, at Close, and at Open after a crash.
package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/transport"
)

const (
	fileName   = "journal"
	minCompact = 1 << 20 // bytes; smaller files are left alone

	stay  = time.Hour   // of parameters of commands that have finished
	retry = time.Minute // after the file could not be written anew
)

// Errors of Write.
var (
	ErrFull   = errors.New("the journal is full")
	ErrClosed = errors.New("journal: closed")
)

// Journal is safe for concurrent use.
type Journal struct {
	dir   string
	limit int64
	keep  int
	lock  *os.File

	mu       sync.Mutex
	flushed  sync.Cond
	file     *logfile.File
	size     int64
	pending  []byte
	state    *state
	compact  int64  // size at which to write the file anew
	wrote    uint64 // generation of what was added to pending last
	durable  uint64 // generation of what is on disk
	flushing bool
	err      error // the file failed; nothing is written any more

	over  bool        // the file holds parameters of commands that have finished
	renew *time.Timer // writes it anew then
}

// Open opens or makes the journal in dir, and returns the commands that it knows, in the order
// received, and the cursor of the last. limit bounds the file in bytes; of the commands whose outcome
// the controller knows, the latest keep are remembered.
func Open(dir string, limit int64, keep int) (*Journal, []Task, transport.Cursor, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, "", fmt.Errorf("journal: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, nil, "", err
	}
	j := &Journal{dir: dir, limit: limit, keep: keep, lock: lock}
	j.flushed.L = &j.mu
	j.renew = time.AfterFunc(stay, j.dropParameters)
	j.renew.Stop()
	if err := j.load(); err != nil {
		lock.Close()
		return nil, nil, "", err
	}
	tasks := make([]Task, len(j.state.order))
	for i, t := range j.state.order {
		tasks[i] = *t
	}
	return j, tasks, j.state.cursor, nil
}

func (j *Journal) path() string { return filepath.Join(j.dir, fileName) }

// load reads what there is and writes it anew, compacted.
func (j *Journal) load() error {
	b, err := os.ReadFile(j.path())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("journal: %w", err)
	}
	if j.state, err = read(b); err != nil {
		return fmt.Errorf("%w (%s; move it away to start without what it knows)", err, j.path())
	}
	return j.rewrite()
}

// Write makes records durable. Over the limit it returns ErrFull for records of received commands
// and writes nothing; what is said of commands that are held already always fits.
func (j *Journal) Write(records ...Record) error { return j.write(true, records) }

// Note writes records along with the next Write, or at Close.
func (j *Journal) Note(records ...Record) error { return j.write(false, records) }

func (j *Journal) write(wait bool, records []Record) error {
	var b []byte
	adds := false
	for _, r := range records {
		var err error
		if b, err = appendRecord(b, r); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		adds = adds || r.Received != nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	if adds && j.size+int64(len(j.pending)+len(b)) > j.limit {
		j.settle()
		if j.err == nil {
			j.err = j.rewrite()
		}
		if j.err != nil {
			return j.err
		}
		if j.size+int64(len(b)) > j.limit {
			return ErrFull
		}
	}
	for _, r := range records {
		j.state.apply(r)
		if r.Finished != nil && !j.over {
			j.over = true
			j.renew.Reset(stay)
		}
	}
	j.pending = append(j.pending, b...)
	j.wrote++
	mine := j.wrote
	if !wait {
		return nil
	}
	for j.durable < mine && j.err == nil {
		if j.flushing {
			j.flushed.Wait()
			continue
		}
		j.flush()
	}
	if j.err == nil && j.size > j.compact {
		j.settle()
		if j.err == nil {
			j.err = j.rewrite()
		}
	}
	return j.err
}

// settle waits until nobody flushes, so that the file may be replaced.
func (j *Journal) settle() {
	for j.flushing {
		j.flushed.Wait()
	}
}

// flush writes what is pending, for all who wait. It is called, and returns, with mu locked, but
// does not hold it meanwhile.
func (j *Journal) flush() {
	b, upto := j.pending, j.wrote
	j.pending, j.flushing = nil, true
	j.mu.Unlock()
	err := j.file.Write(b)
	j.mu.Lock()
	j.flushing = false
	if err != nil {
		j.err = fmt.Errorf("journal: %w", err)
	} else {
		j.size = j.file.Size()
		j.durable = upto
	}
	j.flushed.Broadcast()
}

// rewrite replaces the file by one that says the same in fewer records. mu is locked, or nobody else
// knows j yet.
func (j *Journal) rewrite() error {
	j.state.forget(j.keep)
	b, err := j.state.encode()
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	file, err := logfile.Create(j.path(), header, b)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if j.file != nil {
		j.file.Close()
	}
	j.file, j.size, j.pending, j.durable = file, file.Size(), nil, j.wrote
	j.over = false
	j.renew.Stop()
	j.compact = max(minCompact, 4*j.size)
	return nil
}

// dropParameters writes the file anew when its time has come. If that fails the old file is as it was, and serves.
func (j *Journal) dropParameters() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.settle()
	if j.err == nil && j.over && j.rewrite() != nil {
		j.renew.Reset(retry)
	}
}

// Close writes what was noted and gives the directory free.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.settle()
	if errors.Is(j.err, ErrClosed) {
		return nil
	}
	if j.err == nil && len(j.pending) > 0 {
		j.flush()
	}
	err := j.err
	if err == nil && j.over {
		err = j.rewrite()
	}
	j.renew.Stop()
	j.err = ErrClosed
	return errors.Join(err, j.file.Close(), j.lock.Close())
}
