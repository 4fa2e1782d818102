// Package private says whether others can change a file or a directory that decides what this process does: keys,
// the ledger, the journal, the audit.
//
// Others are all users but the one that this process runs as, and root. A path is private if
//
//   - what it names is owned by none of the others, and neither its group nor everybody may write it. On Linux the group
//     may if nobody but the owner is in it, going by /etc/passwd and /etc/group;
//   - no directory on the way there lets others put something else in its place. One that others may write is fine on
//     the way if it has the sticky bit and what is in it is not theirs, as /tmp has.
//
// Symbolic links are followed step by step: each directory that holds one counts, and so do those on the way to what
// it points to. What is on a file system that is mounted read-only nobody can change, whatever its modes say: that is
// how Kubernetes mounts secrets. Where a system has no such modes (Windows) everything passes.
package private

import "fmt"

// Error is what lets others change a path. It names a path, what is wrong with it and what to do.
type Error struct {
	Path   string // what is wrong is its
	Why    string
	Remedy string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s: %s", e.Path, e.Why, e.Remedy) }

// Dir returns an error for a directory that others can change, add files to, or replace. Any other error is of the
// file system.
func Dir(path string) error { return check(path) }

// File returns an error for a file that others can write or replace, and for what is no file, such as a named pipe or a
// device; that is no *Error. It says nothing of who may read the file, and judges a directory as Dir does.
func File(path string) error { return checkFile(path) }

// Data is Dir, and File of all that is in the directory, for a directory that is this process's own. A symbolic link
// that points to nothing is an error, too. What is in directories below is not looked at.
func Data(dir string) error {
	if err := check(dir); err != nil {
		return err
	}
	return checkEntries(dir)
}
