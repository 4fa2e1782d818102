package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/miglink/miglink/internal/lockfile"
	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/internal/private"
)

// takeDir makes the directory if need be, and keeps other agents out of it. Where the disk has no room for that, and there is
// no journal yet, there is nothing to read and nothing to keep others from: takeDirLater tries again.
func (j *Journal) takeDir() error {
	err := j.lockDir()
	if !logfile.NoRoom(err) {
		return wrap(err)
	}
	if _, found := os.Lstat(j.path()); errors.Is(found, os.ErrNotExist) {
		return nil
	}
	return wrap(err)
}

// takeDirLater takes a directory for which there was no room. A journal that is in it by then is another agent's, of which this
// one knows nothing.
func (j *Journal) takeDirLater() error {
	if j.lock != nil {
		return nil
	}
	if err := j.lockDir(); err != nil {
		return err
	}
	_, err := os.Lstat(j.path())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%s was written by another agent while the disk had no room for this one's: restart this agent, which then reads it", j.path())
	}
	return errors.Join(err, j.freeDir())
}

func (j *Journal) lockDir() error {
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return err
	}
	if err := private.Data(j.dir); err != nil { // who can write there decides what the agent takes for done
		return err
	}
	lock, err := lockfile.Lock(filepath.Join(j.dir, "lock"))
	if errors.Is(err, lockfile.ErrInUse) {
		return fmt.Errorf("%s is in use by another agent", j.dir)
	}
	j.lock = lock
	return err
}

func (j *Journal) freeDir() error {
	if j.lock == nil {
		return nil
	}
	lock := j.lock
	j.lock = nil
	return lock.Close()
}
