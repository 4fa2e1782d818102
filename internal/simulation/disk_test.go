package simulation_test

import (
	"path/filepath"
	"sync"
	"syscall"

	"github.com/miglink/miglink/internal/logfile"
)

// full are the directories whose disk is full.
var full sync.Map

func init() {
	logfile.LimitRoom(func(path string) error {
		if _, ok := full.Load(filepath.Dir(path)); ok {
			return syscall.ENOSPC
		}
		return nil
	})
}
