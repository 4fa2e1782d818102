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
	file    *os.File
	size    int64 // of what was written
	end     int64 // of the file
	reserve int64 // that Write leaves
	err     error // what is on disk is not known
}

// Create writes a file that holds the header and records, such that a crash leaves either the old file of
// that path or the new one. If it fails the old one is as it was, and nothing is left of the new one. The file has room for
// so many bytes as reserve says, which Write leaves to WriteReserved.
func Create(path, header string, records []byte, reserve int64) (*File, error) {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	created := &File{file: f, reserve: reserve}
	if err = created.fill(header, records); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		f.Close()
		os.Remove(temp) // it may be what fills the disk
		return nil, err
	}
	if err := SyncDir(filepath.Dir(path)); err != nil { // the old file is gone for this process, and perhaps not for the next
		created.err = unknown(err)
	}
	return created, nil
}

// fill writes what a new file begins with.
func (f *File) fill(header string, records []byte) error {
	size := int64(len(header) + len(records))
	if err := RoomFor(f.file, size+f.reserve); err != nil {
		return err
	}
	if _, err := f.file.WriteString(header); err != nil {
		return err
	}
	if _, err := f.file.Write(records); err != nil {
		return err
	}
	f.size, f.end = size, size
	if err := f.grow(size + f.reserve); err != nil {
		return err
	}
	return f.file.Sync()
}

// Open opens a file of which the first size bytes count, as Read says. It writes nothing that needs room.
func Open(path string, size, reserve int64) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	opened := &File{file: f, size: size, reserve: reserve}
	if err := opened.clear(); err != nil {
		f.Close()
		return nil, err
	}
	return opened, nil
}

// clear writes zeros over what follows the records: what a crash has torn must not follow a record that is written now.
func (f *File) clear() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	f.end = max(info.Size(), f.size)
	for at := f.size; at < f.end; {
		n, err := f.file.WriteAt(zeros[:min(room, f.end-at)], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return f.file.Sync()
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
// others may be written yet, unless Failed says otherwise. It leaves the reserve.
func (f *File) Write(records []byte) error { return f.append(records, f.reserve) }

// WriteReserved is Write that may use the reserve.
func (f *File) WriteReserved(records []byte) error { return f.append(records, 0) }

// Failed says why every later write fails: the system does not say what is on disk. Nil: they may succeed.
func (f *File) Failed() error { return f.err }

func (f *File) append(records []byte, leave int64) error {
	if f.err != nil {
		return f.err
	}
	if f.reserve > 0 { // what is written must not take what is left
		if err := f.grow(f.size + int64(len(records)) + leave); err != nil {
			return err
		}
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
	end := f.size + int64(len(records))
	if end > f.end {
		if err := RoomFor(f.file, end-f.end); err != nil {
			return err
		}
	}
	if _, err := f.file.WriteAt(records, f.size); err != nil {
		return err
	}
	if end <= f.end {
		return nil
	}
	f.end = end
	_ = f.extend(end + room) // a full disk, at worst; the records are there
	return nil
}

// grow makes the file at least so long, in zeros. If it fails the file is as long as it was.
func (f *File) grow(end int64) error {
	if end <= f.end {
		return nil
	}
	if f.extend(end+room) == nil {
		return nil
	}
	return f.extend(end)
}

func (f *File) extend(end int64) error {
	if err := RoomFor(f.file, end-f.end); err != nil {
		return err
	}
	for at := f.end; at < end; {
		n, err := f.file.WriteAt(zeros[:min(room, end-at)], at)
		if err != nil {
			_ = f.file.Truncate(f.end) // zeros that stay are room, and do no harm
			return err
		}
		at += int64(n)
	}
	f.end = end
	return nil
}

// Close cuts off the room that was left.
func (f *File) Close() error {
	if f.err != nil {
		return f.file.Close()
	}
	return errors.Join(f.file.Truncate(f.size), f.file.Close())
}
