package programs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/miglink/miglink/internal/lockfile"
	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/internal/private"
)

// Variables of a program's environment that have the ID of its command, and the VM.
const (
	CommandVariable = "MIGLINK_COMMAND_ID"
	VMVariable      = "MIGLINK_VM"
)

// Records is a directory with a file for each group that runs. Only a process that is killed leaves one, and nothing outlives the
// machine's end: so the files are not synced. A nil *Records keeps none.
type Records struct {
	dir string

	mu   sync.Mutex
	lock *os.File // nil: the disk had no room for the directory, or for a lock in it
}

// record is what one file says. Without a group the agent was about to start a program, or has just done so.
type record struct {
	Command string `json:"command_id"`
	VM      string `json:"vm_id"`
	Group   int    `json:"process_group,omitempty"`
	Start   string `json:"start,omitempty"` // identity of the process that began the group
}

// OpenRecords opens or makes the directory. It is for one agent at a time: the error of another is lockfile.ErrInUse. Where the
// disk has no room for the directory it is made later: until then no program starts.
func OpenRecords(dir string) (*Records, error) {
	r := &Records{dir: dir}
	err := r.take()
	if logfile.NoRoom(err) {
		if left, _ := r.left(); len(left) == 0 { // none to end beside another agent
			return r, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// take makes the directory if need be, and keeps other agents out of it.
func (r *Records) take() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lock != nil {
		return nil
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	if err := private.Data(r.dir); err != nil { // who can write there decides what the agent kills
		return err
	}
	lock, err := lockfile.Lock(filepath.Join(r.dir, "lock"))
	r.lock = lock
	return err
}

// left are the names of the records in the directory.
func (r *Records) left() ([]string, error) { return filepath.Glob(filepath.Join(r.dir, "*.json")) }

// Close lets another agent have the directory.
func (r *Records) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lock == nil {
		return nil
	}
	return r.lock.Close()
}

// place is the file of a record. A nil *place is none.
type place struct {
	file   *os.File
	record record
}

// recordSize is the size of a file from the start, so that a full disk is noticed before a program is started.
const recordSize = 1 << 10

// reserve makes the record of a program that is about to start.
func (r *Records) reserve(command, vm string) (*place, error) {
	if r == nil {
		return nil, nil
	}
	if err := r.take(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(r.dir, "*.json")
	if err != nil {
		return nil, err
	}
	p := &place{f, record{Command: command, VM: vm}}
	if err := p.write(); err != nil {
		p.remove()
		return nil, err
	}
	return p, nil
}

// fill completes the record of a program that has started.
func (p *place) fill(group int) error {
	if p == nil {
		return nil
	}
	p.record.Group, p.record.Start = group, identity(group)
	return p.write()
}

func (p *place) write() error {
	b, err := json.Marshal(p.record)
	if err != nil {
		return err
	}
	b = append(b, bytes.Repeat([]byte{' '}, max(0, recordSize-len(b)))...)
	_, err = p.file.WriteAt(b, 0)
	return err
}

func (p *place) remove() {
	if p == nil {
		return
	}
	p.file.Close()
	_ = os.Remove(p.file.Name()) // if it stays, the next agent finds what to make of it
}

// EndLeft ends the groups that an agent of before has left, all at a time, and returns when there is none, or ctx ends. What
// cannot be killed is waited for: the next command must not run beside it.
func (r *Records) EndLeft(ctx context.Context, grace time.Duration, log *slog.Logger) error {
	names, err := r.left()
	if err != nil {
		return err
	}
	var ending sync.WaitGroup
	errs := make([]error, len(names))
	for i, name := range names {
		ending.Go(func() { errs[i] = endLeft(ctx, name, grace, log) })
	}
	ending.Wait()
	return errors.Join(errs...)
}

func endLeft(ctx context.Context, name string, grace time.Duration, log *slog.Logger) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var left record
	if err := json.Unmarshal(b, &left); err != nil || left.Command == "" {
		log.Warn("an agent of before was killed before it started a program", "file", name)
		return remove(name)
	}
	groups := []int{left.Group}
	if left.Group <= 1 {
		groups = left.find()
	}
	for _, id := range groups {
		if err := left.end(ctx, id, grace, log.With("command_id", left.Command, "process_group", id)); err != nil {
			return err
		}
	}
	return remove(name)
}

// end ends a group, unless it is another than the one of the record.
func (r record) end(ctx context.Context, id int, grace time.Duration, log *slog.Logger) error {
	g := groupOf(id)
	if g == nil || !g.alive() {
		return nil
	}
	if id == r.Group && !r.isOf(id) {
		log.Warn("a process group has the ID of one that an agent of before has left; it cannot be told whether it is that one, so it is left alone")
		return nil
	}
	log.Warn("a program that an agent of before has left is ended")
	late := time.AfterFunc(grace+lateAfter, func() {
		log.Error("a program that an agent of before has left cannot be killed; the agent waits for its end, and takes no command meanwhile")
	})
	defer late.Stop()
	if err := g.end(ctx, grace); err != nil {
		return fmt.Errorf("ending process group %d, of command %s: %w", id, r.Command, err)
	}
	return nil
}

// lateAfter is when what was killed should have ended.
const lateAfter = 5 * time.Second

func remove(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
