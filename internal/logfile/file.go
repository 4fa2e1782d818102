package logfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// room is how much a file grows at a time, in zeros that are written over then: to make what is written
// durable takes less where the file keeps its size.
const room = 256 << 10

var zeros [room]byte

// File is open for appending. It is not safe for concurrent use.
type File struct {
	file *os.File
	size int64 // of what was written
	end  int64 // of the file
	err  error // what is on disk is not known
}

// Create writes a file that holds the header and records, such that a crash leaves either the old file of
// that path or the new one. If it fails the old one is as it was.
func Create(path, header string, records []byte) (*File, error) {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	size := int64(len(header) + len(records))
	if _, err = f.WriteString(header); err == nil {
		_, err = f.Write(records)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	created := &File{file: f, size: size, end: size}
	if err := SyncDir(filepath.Dir(path)); err != nil { // the old file is gone for this process, and perhaps not for the next
		created.err = unknown(err)
	}
	return created, nil
}

func unknown(err error) error { return fmt.Errorf("what is on disk is not known: %w", err) }

// SyncDir makes durable what was renamed in a directory, or made.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Size is how many bytes were written, the header included.
func (f *File) Size() int64 { return f.size }

// Write appends records, which are durable when it returns nil. If it fails they are not there, and
// others may be written yet, unless the system does not say what is on disk: then every later Write fails.
func (f *File) Write(records []byte) error {
	if f.err != nil {
		return f.err
	}
	if err := f.write(records); err != nil {
		if undone := f.file.Truncate(f.size); undone != nil { // a part would count, once something follows it
			f.err = errors.Join(err, undone)
		}
		f.end = f.size
		return err
	}
	if err := datasync(f.file); err != nil {
		f.err = unknown(err)
		return f.err
	}
	f.size += int64(len(records))
	return nil
}

func (f *File) write(records []byte) error {
	if _, err := f.file.WriteAt(records, f.size); err != nil {
		return err
	}
	end := f.size + int64(len(records))
	if end <= f.end {
		return nil
	}
	f.end = end
	if _, err := f.file.WriteAt(zeros[:], end); err != nil {
		return nil //nolint:nilerror // a full disk; the records are there
	}
	f.end += room
	return nil
}

// Close cuts off the room that was left.
func (f *File) Close() error {
	if f.err != nil {
		return f.file.Close()
	}
	return errors.Join(f.file.Truncate(f.size), f.file.Close())
}
