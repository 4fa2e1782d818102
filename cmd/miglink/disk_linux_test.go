package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/transport"
)

// diskSize is that of the disks which are filled, in bytes: above what an empty ext4 takes, and the journal's reserve.
const diskSize = 8 << 20

// newDisk mounts a small disk of a kind.
func newDisk(t *testing.T, kind string) string {
	t.Helper()
	at := t.TempDir()
	command := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", fmt.Sprint("nr_inodes=1000,size=", diskSize), "none", at)
	if kind == "ext4" {
		image := filepath.Join(t.TempDir(), "image")
		require.NoError(t, os.WriteFile(image, nil, 0o600))
		require.NoError(t, os.Truncate(image, diskSize))
		out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-m", "0", image).CombinedOutput()
		needs.Machine(t, err, "no ext4 can be made here, which takes mkfs.ext4 (e2fsprogs): "+string(out))
		command = exec.CommandContext(t.Context(), "mount", "-o", "loop", image, at)
	}
	out, err := command.CombinedOutput()
	needs.Machine(t, err, "nothing can be mounted here, which takes root, and loop devices for ext4: "+string(out))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(at, syscall.MNT_DETACH)) })
	return at
}

// fillDisk writes until there is no room, and returns what it wrote to.
func fillDisk(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "full"))
	require.NoError(t, err)
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			size /= 2
		}
	}
	if err := f.Close(); !errors.Is(err, syscall.ENOSPC) {
		require.NoError(t, err)
	}
	return f.Name()
}

// The disk of an agent's journal fills under load, and has room again later: nothing is rejected, lost or run twice, and the
// agent is not started anew.
func TestDiskFillsUnderLoad(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ext4", "tmpfs"} {
		for _, name := range []string{"ws", "longpoll"} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				testDiskFills(t, kind, name)
			})
		}
	}
}

func testDiskFills(t *testing.T, kind, name string) {
	sends, hold := 60, time.Second
	if os.Getenv("MIGLINK_SOAK") != "" {
		sends, hold = 500, time.Minute
	}
	disk := newDisk(t, kind)
	record := filepath.Join(t.TempDir(), "ran")
	_, url := startController(t)
	a := start(t, "agent", "--vm", "vm-1", "--controller", url, "--transport", name, "--journal", filepath.Join(disk, "journal"),
		"--exec", "work="+script(t, `echo "$MIGLINK_COMMAND_ID" >> `+record))
	a.log.await(t, "linked")
	client, err := admin.NewClient(url+"/admin/v1", transport.Config{})
	require.NoError(t, err)
	var ids []string
	load := func(when string) {
		for i := range sends {
			id := fmt.Sprintf("%s-%03d", when, i)
			sendUntilAcknowledged(t, client, admin.Send{
				ID: id, VM: "vm-1", Type: "work", Parameters: fmt.Appendf(nil, `{"x":%q}`, strings.Repeat("x", 20<<10)),
			})
			ids = append(ids, id)
		}
	}
	var filler string
	var filling sync.WaitGroup
	load("before")
	filling.Go(func() { filler = fillDisk(t, disk) })
	load("meanwhile")
	filling.Wait()
	load("full")
	a.log.await(t, "the journal cannot be written")
	require.Eventually(t, func() bool {
		for _, id := range ids {
			if s, err := client.Get(t.Context(), id); err == nil && s.Code == ack.CodeNoDisk {
				return true
			}
		}
		return false
	}, patience, 10*time.Millisecond)
	time.Sleep(hold) // how long the disk stays full
	require.NoError(t, os.Remove(filler))
	for _, id := range ids {
		require.Equal(t, ack.Succeeded, settled(t, client, id).Stage, id)
	}
	ran, err := os.ReadFile(record)
	require.NoError(t, err)
	require.Equal(t, ids, strings.Fields(string(bytes.TrimSpace(ran))), "each once, in the order they were sent")
	require.NotContains(t, a.log.String(), "panic")
}

// An agent starts on a disk that is full, also for the first time, defers what comes, and is started again meanwhile. Once
// there is room all of it runs, once, in the order sent.
func TestStartOnAFullDisk(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ext4", "tmpfs"} {
		for _, upgraded := range []bool{false, true} {
			t.Run(fmt.Sprint(kind, " upgraded=", upgraded), func(t *testing.T) {
				t.Parallel()
				testStartOnAFullDisk(t, kind, upgraded)
			})
		}
	}
}

func testStartOnAFullDisk(t *testing.T, kind string, upgraded bool) {
	disk := newDisk(t, kind)
	journal := filepath.Join(disk, "journal")
	record := filepath.Join(t.TempDir(), "ran")
	_, url := startController(t)
	args := []string{
		"agent", "--vm", "vm-1", "--controller", url, "--transport", "ws", "--journal", journal,
		"--exec", "work=" + script(t, `echo "$MIGLINK_COMMAND_ID" >> `+record),
	}
	if upgraded { // an agent that had no directory for programs
		a := start(t, args...)
		a.log.await(t, "linked")
		require.Zero(t, a.interrupt(), a.log)
		require.NoError(t, os.RemoveAll(filepath.Join(journal, "programs")))
	}
	filler := fillDisk(t, disk)
	fillInodes(t, disk)
	client, err := admin.NewClient(url+"/admin/v1", transport.Config{})
	require.NoError(t, err)
	var ids []string
	for round := range 2 {
		a := start(t, args...)
		a.log.await(t, "linked")
		id := fmt.Sprint("work-", round)
		sendUntilAcknowledged(t, client, admin.Send{ID: id, VM: "vm-1", Type: "work", Parameters: fmt.Appendf(nil, `{"x":%q}`, strings.Repeat("x", 200<<10))})
		ids = append(ids, id)
		require.Eventually(t, func() bool {
			s, err := client.Get(t.Context(), ids[0])
			return err == nil && s.Stage == ack.Deferred
		}, patience, 10*time.Millisecond)
		if round == 0 {
			require.Zero(t, a.interrupt(), a.log)
		}
	}
	require.NoError(t, os.Remove(filler))
	for i := range 10 { // inodes
		require.NoError(t, os.Remove(filepath.Join(disk, fmt.Sprint("empty-", i))))
	}
	for _, id := range ids {
		require.Equal(t, ack.Succeeded, settled(t, client, id).Stage, id)
	}
	ran, err := os.ReadFile(record)
	require.NoError(t, err)
	require.Equal(t, ids, strings.Fields(string(ran)))
}

// fillInodes makes empty files until there is no room for another, as far as a tmpfs, or a directory of an ext4, has a limit.
func fillInodes(t *testing.T, dir string) {
	t.Helper()
	for i := range 100_000 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint("empty-", i)))
		if err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			return
		}
		f.Close()
	}
	t.Fatal("there is always room for another file")
}

// A command that cannot be recorded, for want of disk, has not run: it is deferred, and runs once there is room.
func TestRecordOnAFullDisk(t *testing.T) {
	t.Parallel()
	for _, there := range []bool{true, false} { // with the file, or no room for one
		t.Run(fmt.Sprint("there=", there), func(t *testing.T) {
			t.Parallel()
			disk := newDisk(t, "tmpfs")
			record := filepath.Join(disk, "record")
			if there {
				require.NoError(t, os.WriteFile(record, nil, 0o600))
			}
			filler := fillDisk(t, disk)
			fillInodes(t, disk)
			_, url := startController(t)
			start(t, "agent", "--vm", "vm-1", "--controller", url, "--transport", "ws", "--record", record).log.await(t, "linked")
			client, err := admin.NewClient(url+"/admin/v1", transport.Config{})
			require.NoError(t, err)
			sendUntilAcknowledged(t, client, admin.Send{ID: "drain-1", VM: "vm-1", Type: "drain", Parameters: []byte(`{"reason":"x"}`)})
			require.Eventually(t, func() bool {
				s, err := client.Get(t.Context(), "drain-1")
				return err == nil && s.Stage == ack.Deferred && strings.Contains(s.Reason, "--record")
			}, patience, 10*time.Millisecond)
			require.NoError(t, os.Remove(filler))
			require.NoError(t, os.Remove(filepath.Join(disk, "empty-0")))
			require.Equal(t, ack.Succeeded, settled(t, client, "drain-1").Stage)
			ran, err := os.ReadFile(record)
			require.NoError(t, err)
			require.Equal(t, "drain-1 drain\n", string(ran))
		})
	}
}
