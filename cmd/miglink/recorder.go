package main

import (
	"fmt"
	"os"
	"sync"

	"github.com/miglink/miglink/command"
)

// recorder keeps an account of what runs that does not depend on anything the agent says.
type recorder struct {
	path string // empty: none

	mu   sync.Mutex
	file *os.File // nil: the disk had no room for it yet
}

func (r *recorder) open() error {
	if r.path == "" || r.file != nil {
		return nil
	}
	file, err := os.OpenFile(r.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	r.file = file
	return nil
}

// add appends a line. After an error there is no part of it.
func (r *recorder) add(cmd command.Command) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.open(); err != nil || r.file == nil {
		return err
	}
	line := fmt.Sprintf("%s %s\n", cmd.ID, cmd.Type)
	n, err := r.file.WriteString(line)
	if err == nil || n == 0 {
		return err
	}
	if info, failed := r.file.Stat(); failed == nil && info.Mode().IsRegular() { // each agent has its own, so that the end is of this line
		_ = os.Truncate(r.path, info.Size()-int64(n))
	}
	return err
}

func (r *recorder) close() {
	if r.file != nil {
		r.file.Close()
	}
}
