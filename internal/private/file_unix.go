//go:build unix

package private

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

var errNoFile = errors.New("not a file")

// checkFile is check of what is to be opened as a file. To open a named pipe waits for its other end, perhaps forever,
// and of a device the modes are none of our business: without everybody's permission to write /dev/null little works.
func checkFile(path string) error {
	at, info, err := walk(path)
	if err != nil {
		return err
	}
	if is := special(info.Mode()); is != "" {
		return fmt.Errorf("%s is %s, %w", path, is, errNoFile)
	}
	return checkItself(at, info)
}

// special is what it is that is neither a file nor a directory. It is empty for those.
func special(mode fs.FileMode) string {
	switch {
	case mode.IsRegular() || mode.IsDir():
		return ""
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "something special (" + mode.String() + ")"
}

// checkEntries judges what is in a directory. What is deleted meanwhile does not count, and a symbolic link is what it
// points to. One that points to nothing is refused: what is made by its name comes to be elsewhere.
func checkEntries(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch err := checkFile(path); {
		case errors.Is(err, fs.ErrNotExist):
			if _, err := os.Lstat(path); err == nil {
				return fmt.Errorf("%s points to nothing: remove it", path)
			}
		case errors.Is(err, errNoFile):
			return fmt.Errorf("%w: remove it", err)
		case err != nil:
			return err
		}
	}
	return nil
}
