//go:build !linux

package logfile_test

import (
	"testing"

	"github.com/miglink/miglink/internal/needs"
)

func limitFile(t *testing.T, _ int64) {
	t.Helper()
	needs.Linux(t, "how to fill a disk is known on Linux")
}
