//go:build unix

package private

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	root          = 0    // the user who may change everything anyway
	groupWritable = 0o20 // the bit that lets a group write
	writable      = 0o22 // the bits that let a group, and everybody, write
	maxLinks      = 40   // symbolic links on the way, as in Linux
	separator     = string(filepath.Separator)
)

// geteuid is the user that this process runs as. It is a variable for tests, which root runs, too.
var geteuid = os.Geteuid

// check judges a path, and each directory on the way there.
func check(path string) error {
	at, info, err := walk(path)
	if err != nil {
		return err
	}
	return checkItself(at, info)
}

// walk follows a path to what it names in the end, and judges each directory on the way.
func walk(path string) (at string, info fs.FileInfo, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", nil, err
	}
	rest, links := names(abs), 0
	at = separator
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." { // of a link; at has none any more, so this is where it leads
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if err != nil {
			return "", nil, fmt.Errorf("%s: %w", path, err)
		}
		if err := checkHolder(at, name, info); err != nil {
			return "", nil, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", nil, fmt.Errorf("%s: too many symbolic links", path)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", nil, err
		}
		if filepath.IsAbs(target) {
			at = separator
		}
		rest = append(names(target), rest...)
	}
	info, err = os.Lstat(at)
	return at, info, err
}

// names are the parts of a path, but for those that lead nowhere.
func names(path string) []string {
	var out []string
	for name := range strings.SplitSeq(path, separator) {
		if name != "" && name != "." {
			out = append(out, name)
		}
	}
	return out
}

// checkItself judges what a path names in the end.
func checkItself(path string, info fs.FileInfo) error {
	switch {
	case !ours(info) && !readOnly(path):
		return notOurs(path, info)
	case othersWrite(path, info):
		remedy := "chmod go-w " + path
		if info.Mode()&fs.ModeSticky != 0 { // of /tmp that would break other programs
			remedy = "it is shared on purpose: name something below it"
		}
		return &Error{path, fmt.Sprintf("others may write it (mode %s)", modeOf(info)), remedy}
	}
	return nil
}

// checkHolder judges whether a directory lets others put something in the place of an entry.
func checkHolder(dir, name string, entry fs.FileInfo) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !ours(info) && !readOnly(dir):
		return notOurs(dir, info)
	case !othersWrite(dir, info):
		return nil
	case info.Mode()&fs.ModeSticky == 0:
		return &Error{dir, fmt.Sprintf("others may replace %s in it (mode %s)", name, modeOf(info)), "chmod go-w " + dir}
	case !ours(entry): // with the sticky bit an entry is its owner's
		return notOurs(filepath.Join(dir, name), entry)
	}
	return nil
}

// othersWrite says whether the modes of what is ours let others write it.
func othersWrite(path string, info fs.FileInfo) bool {
	switch info.Mode().Perm() & writable {
	case 0:
		return false
	case groupWritable:
		return !readOnly(path) && !ownersAlone(path, info)
	}
	return !readOnly(path)
}

func notOurs(path string, info fs.FileInfo) error {
	return &Error{
		path, fmt.Sprintf("it is owned by uid %d, neither by this process (uid %d) nor by root (mode %s)", owner(info), geteuid(), modeOf(info)),
		fmt.Sprintf("chown %d %s, or run this as its owner", geteuid(), path),
	}
}

// modeOf is a mode as chmod writes it.
func modeOf(info fs.FileInfo) string {
	m := uint32(info.Mode().Perm())
	if info.Mode()&fs.ModeSticky != 0 {
		m |= 0o1000
	}
	return fmt.Sprintf("%#04o", m)
}

// ours says whether nobody but us and root owns a file.
func ours(info fs.FileInfo) bool {
	uid := owner(info)
	return uid == root || uid == geteuid()
}

func owner(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1 // of no system that is a unix
}
