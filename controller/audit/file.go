package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/internal/private"
	"github.com/miglink/miglink/internal/wirejson"
)

// ErrClosed is returned by Record after Close.
var ErrClosed = errors.New("audit: closed")

// File is an admin.Audit. Make one with Open.
type File struct {
	path string

	// mu is held to write, syncing to sync: others may write meanwhile, and share the next one. Whoever needs both
	// takes syncing first.
	syncing sync.Mutex
	synced  uint64 // records that are on disk, but for those that are lost
	lost    lost

	mu      sync.Mutex
	file    *os.File // nil: closed, or could not be opened
	closed  bool
	written uint64 // records
	torn    bool   // the last line has no end
}

// lost are records that may not be on disk, since a sync has failed.
type lost struct {
	from, upto uint64
	err        error // nil: there are none
}

// of says whether the n-th record is lost, and why.
func (l lost) of(n uint64) error {
	if l.err != nil && l.from <= n && n <= l.upto {
		return l.err
	}
	return nil
}

// Open opens the file at path, or makes it, for its owner alone to read. Its directory has to be there. A file that
// others than its owner may write or replace is an error which says what to do, here, at Reopen, and where Record finds
// that the file was moved; the owner is the one who runs this process, or root.
func Open(path string) (*File, error) {
	f := &File{path: path}
	if err := f.Reopen(); err != nil {
		return nil, err
	}
	return f, nil
}

// Record appends a record. One of an action that changes something is on disk when it returns nil.
func (f *File) Record(_ context.Context, r admin.Record) error {
	line, err := wirejson.Marshal(r)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if f.moved() {
		if err := f.Reopen(); err != nil {
			return err
		}
	}
	n, err := f.append(append(line, '\n'))
	if err != nil || !r.Action.Changes() {
		return err
	}
	return f.sync(n)
}

// moved says whether the file at the path is another than the one that is open.
func (f *File) moved() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return !f.closed
	}
	there, err := os.Stat(f.path)
	if err != nil {
		return true
	}
	open, err := f.file.Stat()
	return err != nil || !os.SameFile(there, open)
}

// append writes a line and returns how many were written by then.
func (f *File) append(line []byte) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return 0, ErrClosed
	}
	if f.torn { // what a full disk or a crash has left of a line
		line = append([]byte{'\n'}, line...)
	}
	n, err := f.file.Write(line)
	if err != nil {
		f.torn = f.torn || n > 0
		return 0, fmt.Errorf("audit: %w", err)
	}
	f.torn = false
	f.written++
	return f.written, nil
}

// sync returns once the n-th record is on disk. One sync is for all that was written before it.
func (f *File) sync(n uint64) error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if err := f.lost.of(n); err != nil || f.synced >= n {
		return err
	}
	f.mu.Lock()
	file, upto := f.file, f.written
	f.mu.Unlock()
	if file == nil {
		return ErrClosed
	}
	return f.flush(file, upto)
}

// flush syncs a file to which all up to a record were written. Where that fails another sync would not say so.
func (f *File) flush(file *os.File, upto uint64) error {
	if err := file.Sync(); err != nil {
		if f.lost.err == nil {
			f.lost.from = f.synced + 1
		}
		f.lost.upto, f.lost.err = upto, fmt.Errorf("audit: what is on disk is not known: %w", err)
		return f.lost.err
	}
	f.synced = upto
	return nil
}

// Reopen lets go of the file that is open, and opens the one at the path, or makes it. It is what SIGHUP asks for.
func (f *File) Reopen() error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	if err := f.release(); err != nil {
		return err
	}
	file, torn, err := open(f.path)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	f.file, f.torn = file, torn
	return nil
}

// release makes durable what was written, and closes the file. Both locks are held.
func (f *File) release() error {
	if f.file == nil {
		return nil
	}
	err := errors.Join(f.flush(f.file, f.written), f.file.Close())
	f.file = nil
	return err
}

// Close makes durable what was recorded.
func (f *File) Close() error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return f.release()
}

// open opens a file to append to. Torn says that its last line has no end.
func open(path string) (file *os.File, torn bool, err error) {
	// Whoever rotates the log may move the file away between two steps of tryOpen: try again. A directory that does not
	// exist gives the same error each time.
	for range 10 {
		file, torn, err = tryOpen(path)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return file, torn, err
}

func tryOpen(path string) (file *os.File, torn bool, err error) {
	// Before it is made: where others may write, a link of theirs might lead to any file of ours.
	if err := private.File(path); errors.Is(err, fs.ErrNotExist) {
		err = private.Dir(filepath.Dir(path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a directory that is not there is OpenFile's to say
			return nil, false, err
		}
	} else if err != nil {
		return nil, false, err
	}
	file, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	var info fs.FileInfo
	if err = private.File(path); err == nil { // also where a link of ours led to a new file
		info, err = file.Stat()
	}
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is not a file", path)
	case info.Size() == 0:
		err = logfile.SyncDir(filepath.Dir(path)) // it may be new
	default:
		var last [1]byte
		_, err = file.ReadAt(last[:], info.Size()-1)
		torn = last[0] != '\n'
	}
	if err != nil {
		file.Close()
		return nil, false, err
	}
	return file, torn, nil
}
