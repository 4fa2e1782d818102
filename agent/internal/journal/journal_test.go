package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/transport"
)

const large = 1 << 40

func received(id string) Record {
	cmd, err := command.New(command.Drain{Reason: "of " + id}, command.Options{ID: id})
	if err != nil {
		panic(err)
	}
	cmd.CreatedAt = time.Unix(1, 0).UTC()
	return Record{ID: id, Received: &transport.Delivery{Command: cmd, Attempt: 1, Cursor: transport.Cursor("after-" + id)}}
}

func finished(id string, stage ack.Stage) Record {
	return Record{ID: id, Finished: &ack.Ack{CommandID: id, Stage: stage, Result: []byte(`{"a":1}`), Time: time.Unix(1, 0).UTC()}}
}

// reopened is what the next process finds.
func reopened(t *testing.T, dir string) ([]Task, transport.Cursor) {
	t.Helper()
	j, tasks, cursor, err := Open(dir, large, 100)
	require.NoError(t, err)
	require.NoError(t, j.Close())
	return tasks, cursor
}

func TestWhatIsWrittenIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	j, tasks, cursor, err := Open(dir, large, 100)
	require.NoError(t, err)
	require.Empty(t, tasks)
	require.Empty(t, cursor)
	require.NoError(t, j.Write(received("a"), received("b"), received("c")))
	require.NoError(t, j.Write(Record{ID: "a", Started: 1}))
	require.NoError(t, j.Write(finished("a", ack.Succeeded)))
	require.NoError(t, j.Note(Record{ID: "a", Recorded: true}))
	require.NoError(t, j.Write(Record{ID: "b", Started: 2}))
	require.NoError(t, j.Close())
	require.NoError(t, j.Close())
	require.ErrorIs(t, j.Write(received("d")), ErrClosed)

	for range 3 { // every start writes the file anew
		tasks, cursor = reopened(t, dir)
		require.Len(t, tasks, 3)
		require.Equal(t, transport.Cursor("after-c"), cursor)
		require.Equal(t, ack.Succeeded, tasks[0].Final.Stage)
		require.True(t, tasks[0].Recorded)
		require.Nil(t, tasks[0].Delivery)
		require.Equal(t, 2, tasks[1].Started)
		require.Equal(t, *received("b").Received, *tasks[1].Delivery)
		require.Equal(t, 0, tasks[2].Started)
	}
}

// A run that was abandoned may come to another end after the controller knows the first: then it does not know that.
func TestAnotherEnd(t *testing.T) {
	dir := t.TempDir()
	j, _, _, err := Open(dir, large, 100)
	require.NoError(t, err)
	require.NoError(t, j.Write(received("a"), received("b")))
	require.NoError(t, j.Write(finished("a", ack.Failed)))
	require.NoError(t, j.Write(finished("b", ack.Failed)))
	require.NoError(t, j.Note(Record{ID: "b", Recorded: true, Of: ack.Failed}))
	require.NoError(t, j.Note(Record{ID: "a", Recorded: true, Of: ack.Failed})) // written after what follows
	require.NoError(t, j.Write(finished("a", ack.Succeeded)))
	require.NoError(t, j.Close())
	for range 2 {
		tasks, _ := reopened(t, dir)
		require.Len(t, tasks, 2)
		require.Equal(t, ack.Succeeded, tasks[0].Final.Stage)
		require.False(t, tasks[0].Recorded)
		require.NotEmpty(t, tasks[0].Final.Result)
		require.True(t, tasks[1].Recorded)
	}
}

// Wherever a crash cuts the file, all records before the cut are there, and nothing else; also where
// the file system has left zeros in place of what was not written.
func TestTornAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	j, _, _, err := Open(dir, large, 100)
	require.NoError(t, err)
	ends := []int64{int64(len(header))} // of the header, and each record
	for i := range 4 {
		require.NoError(t, j.Write(received(fmt.Sprint("c", i))))
		ends = append(ends, j.size)
	}
	require.NoError(t, j.Close())
	whole, err := os.ReadFile(filepath.Join(dir, fileName))
	require.NoError(t, err)
	require.Len(t, whole, int(ends[4]))

	for cut := len(header); cut <= len(whole); cut++ {
		want := 0
		for want < 4 && ends[want+1] <= int64(cut) {
			want++
		}
		for _, zeros := range []int{0, 3, 100} {
			s, _, err := read(append(whole[:cut:cut], make([]byte, zeros)...))
			require.NoError(t, err)
			require.Len(t, s.order, want, "cut at %d, and %d zeros", cut, zeros)
		}
		left := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(left, fileName), whole[:cut], 0o600))
		tasks, _ := reopened(t, left)
		require.Len(t, tasks, want, "cut at %d", cut)
	}
}

// A bit that flips in the last record looks like a torn write; elsewhere it must not pass for one, or
// a command would be lost without a word.
func TestDamageInTheMiddleIsNoTornTail(t *testing.T) {
	dir := t.TempDir()
	j, _, _, err := Open(dir, large, 100)
	require.NoError(t, err)
	require.NoError(t, j.Write(received("a")))
	first := j.size
	require.NoError(t, j.Write(received("b")))
	require.NoError(t, j.Close())
	whole, err := os.ReadFile(filepath.Join(dir, fileName))
	require.NoError(t, err)

	for at := len(header); at < int(first); at++ {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0x10
		left := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(left, fileName), damaged, 0o600))
		_, _, _, err := Open(left, large, 100)
		require.ErrorContains(t, err, "move it away", "byte %d", at)
		after, err := os.ReadFile(filepath.Join(left, fileName))
		require.NoError(t, err)
		require.Equal(t, damaged, after, "it is left as it was")
	}
}

func TestNotAJournal(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), []byte("miglink-journal 9\n"), 0o600))
	_, _, _, err := Open(dir, large, 100)
	require.ErrorContains(t, err, "not a journal of this version")

	_, _, _, err = Open(filepath.Join(dir, fileName), large, 100)
	require.Error(t, err)
}

func TestOneAgentPerDirectory(t *testing.T) {
	if runtime.GOOS == "windows" {
		needs.Machine(t, errors.ErrUnsupported, "there is no flock")
	}
	dir := t.TempDir()
	j, _, _, err := Open(dir, large, 100)
	require.NoError(t, err)
	_, _, _, err = Open(dir, large, 100)
	require.ErrorContains(t, err, "in use by another agent")
	require.NoError(t, j.Close())
	reopened(t, dir)
}

// A full journal takes no new command, but what is said of those it holds; once they are done and the
// controller knows, there is room again.
func TestFull(t *testing.T) {
	j, _, _, err := Open(t.TempDir(), 4096, 1)
	require.NoError(t, err)
	n := 0
	for ; ; n++ {
		err := j.Write(received(fmt.Sprint("c", n)))
		if err != nil {
			require.ErrorIs(t, err, ErrFull)
			break
		}
	}
	require.Greater(t, n, 5)
	require.ErrorIs(t, j.Write(received("one-more")), ErrFull)
	for i := range n {
		require.NoError(t, j.Write(Record{ID: fmt.Sprint("c", i), Started: 1}))
		require.NoError(t, j.Write(finished(fmt.Sprint("c", i), ack.Succeeded)))
		require.NoError(t, j.Note(Record{ID: fmt.Sprint("c", i), Recorded: true}))
	}
	require.NoError(t, j.Write(received("one-more")))
	require.NoError(t, j.Close())
	tasks, _ := reopened(t, j.dir)
	require.Len(t, tasks, 2, "the latest outcome, and the new command")
	require.Equal(t, fmt.Sprint("c", n-1), tasks[0].ID)
	require.Nil(t, tasks[0].Final.Result)
	require.Equal(t, "one-more", tasks[1].ID)
}

// The file does not grow with what has been done, while many write.
func TestCompaction(t *testing.T) {
	j, _, _, err := Open(t.TempDir(), large, 10)
	require.NoError(t, err)
	j.compact = 8 << 10
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := range 100 {
				id := fmt.Sprintf("%d-%d", w, i)
				for _, r := range []Record{received(id), {ID: id, Started: 1}, finished(id, ack.Failed)} {
					if err := j.Write(r); err != nil {
						t.Error(err)
						return
					}
				}
				if err := j.Note(Record{ID: id, Recorded: true}); err != nil {
					t.Error(err)
				}
				j.mu.Lock()
				j.compact = min(j.compact, 8<<10)
				j.mu.Unlock()
			}
		})
	}
	writers.Wait()
	require.NoError(t, j.Close())
	info, err := os.Stat(j.path())
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(100_000), "of some 500,000 bytes that were written")
	tasks, _ := reopened(t, j.dir)
	last := map[string]bool{}
	for _, task := range tasks {
		require.Equal(t, ack.Failed, task.Final.Stage)
		last[task.ID] = true
	}
	require.GreaterOrEqual(t, len(last), 10)
}

// fill fills the disk of files below dir, until empty is called.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	logfile.LimitRoom(func(path string) error {
		if strings.HasPrefix(path, dir) {
			return syscall.ENOSPC
		}
		return nil
	})
	t.Cleanup(func() { logfile.LimitRoom(nil) })
	return func() { logfile.LimitRoom(nil) }
}

// On a full disk nothing is received, and what is said of commands that are held is written; with room all is as before.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	j, _, _, err := Open(dir, large, 100)
	require.NoError(t, err)
	require.NoError(t, j.Write(received("a")))
	empty := fill(t, dir)
	n := 0
	for ; err == nil; n++ { // there is a little room beyond the reserve
		err = j.Write(received(fmt.Sprint("f", n)))
		require.Less(t, n, 10_000)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	held, _, err := read(readFile(t, j))
	require.NoError(t, err)
	require.Len(t, held.order, n, "a, and those but the last")
	for i := range 500 {
		require.NoError(t, j.Write(Record{ID: "a", Started: i + 1}))
	}
	require.NoError(t, j.Write(finished("a", ack.Succeeded)))
	require.ErrorIs(t, j.Write(received("b")), syscall.ENOSPC)
	require.NoError(t, j.Close())

	// The next process starts on the full disk, and knows what was written.
	j, tasks, _, err := Open(dir, large, 100)
	require.NoError(t, err)
	require.Len(t, tasks, n)
	require.Equal(t, ack.Succeeded, tasks[0].Final.Stage)
	require.ErrorIs(t, j.Write(received("b")), syscall.ENOSPC)
	empty()
	require.NoError(t, j.Write(received("b")))
	require.NoError(t, j.Close())
	tasks, cursor := reopened(t, dir)
	require.Len(t, tasks, n+1)
	require.Equal(t, transport.Cursor("after-b"), cursor)
	require.NoFileExists(t, filepath.Join(dir, fileName+".new"))
}

// A journal that is opened on a full disk for the first time takes what comes once there is room.
func TestFirstOpenOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	empty := fill(t, dir)
	j, tasks, _, err := Open(dir, large, 100)
	require.NoError(t, err)
	require.Empty(t, tasks)
	require.ErrorIs(t, j.Write(received("a")), syscall.ENOSPC)
	require.ErrorIs(t, j.Write(finished("b", ack.Rejected)), syscall.ENOSPC)
	require.NoError(t, j.Note(finished("b", ack.Rejected)))
	empty()
	require.NoError(t, j.Write(received("a")))
	require.NoError(t, j.Close())
	tasks, _ = reopened(t, dir)
	require.Len(t, tasks, 2, "also what was noted while there was no room")
}

// A directory that there was no room for may be another agent's by the time there is: what that has written stays.
func TestAnotherAgentTookTheDirectory(t *testing.T) {
	dir := t.TempDir()
	empty := fill(t, dir)
	j, _, _, err := Open(dir, large, 100)
	require.NoError(t, err)
	require.NoError(t, j.freeDir()) // as where the lock has no room, either
	empty()
	other, _, _, err := Open(dir, large, 100)
	require.NoError(t, err)
	require.ErrorContains(t, j.Write(received("a")), "in use by another agent")
	require.NoError(t, other.Write(received("b")))
	require.NoError(t, other.Close())
	require.ErrorContains(t, j.Write(received("a")), "restart this agent")
	require.Error(t, j.Close())
	tasks, _ := reopened(t, dir)
	require.Len(t, tasks, 1)
	require.Equal(t, "b", tasks[0].ID)
}

// A file that a crash has torn is written over in its place where there is no room for another.
func TestTornOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	j, _, _, err := Open(dir, large, 100)
	require.NoError(t, err)
	require.NoError(t, j.Write(received("a")))
	left := append(readFile(t, j)[:j.size], received("torn").ID...)
	left = append(left, bytes.Repeat([]byte{7}, 100_000)...)
	require.NoError(t, j.Close())
	require.NoError(t, os.WriteFile(j.path(), left, 0o600))
	fill(t, dir)
	j, tasks, _, err := Open(dir, large, 100)
	require.NoError(t, err)
	require.Len(t, tasks, 1)
	require.NoError(t, j.Write(Record{ID: "a", Started: 1}))
	held, _, err := read(readFile(t, j))
	require.NoError(t, err)
	require.Equal(t, 1, held.order[0].Started)
	require.NoError(t, j.Close())
}

func readFile(t *testing.T, j *Journal) []byte {
	t.Helper()
	b, err := os.ReadFile(j.path())
	require.NoError(t, err)
	return b
}

// A command that alone exceeds the limit is told from one that others leave no room for.
func TestTooLarge(t *testing.T) {
	j, _, _, err := Open(t.TempDir(), 500, 100)
	require.NoError(t, err)
	r := received("a")
	r.Received.Parameters = bytes.Repeat([]byte("x"), 500)
	r.Received.Parameters = append(append([]byte(`{"reason":"`), r.Received.Parameters...), `"}`...)
	require.ErrorIs(t, j.Write(r), ErrTooLarge)
	require.NoError(t, j.Write(received("b")))
	for n := 0; err == nil; n++ {
		err = j.Write(received(fmt.Sprint("c", n)))
	}
	require.ErrorIs(t, err, ErrFull)
	require.NoError(t, j.Close())
}

// A file that fails is replaced by one that holds what was written until then.
func TestFailedFile(t *testing.T) {
	j, _, _, err := Open(t.TempDir(), large, 10)
	require.NoError(t, err)
	require.NoError(t, j.Write(received("a")))
	require.NoError(t, j.file.Close())
	require.ErrorIs(t, j.Write(received("b")), os.ErrClosed)
	require.NoError(t, j.Note(Record{ID: "a", Recorded: true}))
	require.NoError(t, j.Write(Record{ID: "a", Started: 1}))
	require.NoError(t, j.Write(received("c")))
	require.NoError(t, j.Close())
	tasks, _ := reopened(t, j.dir)
	require.Len(t, tasks, 2)
	require.Equal(t, "a", tasks[0].ID)
	require.Equal(t, 1, tasks[0].Started)
	require.Equal(t, "c", tasks[1].ID)
}

// What Write returned for is there after kill -9.
func TestKill(t *testing.T) {
	if dir := os.Getenv("MIGLINK_JOURNAL_KILL"); dir != "" {
		writeUntilKilled(dir)
	}
	dir := t.TempDir()
	for range 5 {
		child := exec.Command(os.Args[0], "-test.run", "^TestKill$")
		child.Env = append(os.Environ(), "MIGLINK_JOURNAL_KILL="+dir)
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		var said bytes.Buffer
		buf := make([]byte, 256)
		for strings.Count(said.String(), "\n") < 20 {
			n, err := out.Read(buf)
			require.NoError(t, err)
			said.Write(buf[:n])
		}
		require.NoError(t, child.Process.Kill())
		_, _ = said.ReadFrom(out)
		_ = child.Wait()
		lines := strings.Split(said.String(), "\n")
		promised, err := strconv.Atoi(lines[len(lines)-2])
		require.NoError(t, err)

		tasks, _ := reopened(t, dir)
		require.GreaterOrEqual(t, len(tasks), promised+1)
		for i, task := range tasks {
			require.Equal(t, fmt.Sprint("c", i), task.ID)
		}
	}
}

// writeUntilKilled goes on where the one before was killed, and says the number of each record once
// it is written.
func writeUntilKilled(dir string) {
	j, tasks, _, err := Open(dir, large, 1<<30)
	for i := len(tasks); err == nil; i++ {
		if err = j.Write(received(fmt.Sprint("c", i))); err == nil {
			fmt.Println(i)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// No file that is found in the directory makes the journal panic, take memory for what is not there,
// or change what it refuses.
// FuzzRead reads what a disk may hold. What is read at all is the same when it was written anew.
func FuzzRead(f *testing.F) {
	s := newState()
	s.apply(received("a"))
	s.apply(Record{ID: "a", Started: 1})
	s.apply(received("b"))
	s.apply(finished("b", ack.Succeeded))
	s.apply(Record{ID: "b", Recorded: true})
	encode := func(t testing.TB, s *state) []byte {
		records, err := s.encode()
		require.NoError(t, err)
		return append([]byte(header), records...)
	}
	whole := encode(f, s)
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(append(whole[:len(whole):len(whole)], make([]byte, 100)...))
	f.Add([]byte(header))
	f.Add([]byte(header + "\xff\xff\xff\xff\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _, err := read(b)
		if err != nil {
			return
		}
		once := encode(t, s)
		again, _, err := read(once)
		require.NoError(t, err)
		require.Equal(t, once, encode(t, again))
	})
}
