package bolt_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bbolt "go.etcd.io/bbolt"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
)

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// earlier unpacks what the version before this one has left, which it could not open again: parameters and results of
// 10,000 levels, in the log and in the archive. See testdata/README.md.
func earlier(t *testing.T) (dir string) {
	t.Helper()
	f, err := os.Open("testdata/unreadable.tar.gz")
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	dir = t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		require.NoError(t, err)
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, h.Name), b, 0o600))
	}
}

// logged opens a ledger whose log is kept.
func logged(t *testing.T, dir string) (*bolt.Ledger, *bytes.Buffer) {
	t.Helper()
	var b bytes.Buffer
	l, err := bolt.Open(dir, bolt.Options{Log: slog.New(slog.NewTextHandler(&b, nil))})
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l, &b
}

// kept are the records of what was set aside.
func kept(t *testing.T, dir string) (records []map[string]string) {
	t.Helper()
	path := filepath.Join(dir, bolt.UnreadableName)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		var r map[string]string
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		raw, err := base64.StdEncoding.DecodeString(r["bytes"])
		require.NoError(t, err)
		r["bytes"] = string(raw)
		records = append(records, r)
	}
	return records
}

// What an earlier version has stored and could not read again does not keep the rest: what can be read of it is there,
// what nobody can run is concluded, the bytes are kept, and the log of the process says so, once.
func TestAnEarlierLedgerOpens(t *testing.T) {
	t.Parallel()
	dir := earlier(t)
	l, logs := logged(t, dir)
	stage := func(id string) (*ledger.Entry, ack.Stage) {
		e, err := l.Get(t.Context(), id)
		require.NoError(t, err, id)
		require.Equal(t, id, e.Command.ID)
		require.Equal(t, "vm-1", e.VM)
		require.True(t, json.Valid(e.Command.Parameters))
		return e, e.State.Stage
	}
	for range 2 { // also when it was written anew
		e, s := stage("waits")
		require.Equal(t, ack.Queued, s)
		require.Equal(t, `{"a":2}`, string([]byte(e.Command.Parameters)))
		for id, steps := range map[string]int{"deep-waits": 2, "deep-runs": 3} {
			e, s := stage(id)
			require.Equal(t, ack.Dead, s, id)
			require.True(t, e.State.Verdict)
			require.Contains(t, e.Reason, "its parameters cannot be read")
			require.Len(t, e.History, steps, "%s: what was known of it is", id)
		}
		for id, want := range map[string]ack.Stage{"deep-result": ack.Succeeded, "deep-progress": ack.Progress, "archived-deep-result": ack.Failed} {
			e, s := stage(id)
			require.Equal(t, want, s, id)
			require.Empty(t, e.Result)
			require.Contains(t, e.Reason, "its result cannot be read")
		}
		for id, result := range map[string]string{"past": `{"percent":50}`, "done": `{"ok":true}`, "archived-good": `{"ok":true}`} {
			e, _ := stage(id)
			require.Equal(t, result, string(e.Result))
			require.Empty(t, e.Reason)
		}
		_, s = stage("archived-deep-parameters")
		require.Equal(t, ack.Succeeded, s)
		pending, err := l.Pending(t.Context(), "vm-1", ledger.Normal, 0, 0)
		require.NoError(t, err)
		require.Len(t, pending, 3, "waits, deep-progress, past")
		list, err := l.List(t.Context(), "vm-1", 0, 100)
		require.NoError(t, err)
		require.Len(t, list, 10)

		require.Equal(t, 1, strings.Count(logs.String(), "held entries that cannot be read"))
		require.Contains(t, logs.String(), `entries=6 command_ids="[archived-deep-parameters archived-deep-result deep-progress deep-result deep-runs deep-waits]"`)
		require.Contains(t, logs.String(), "kept_in="+filepath.Join(dir, bolt.UnreadableName))
		require.NotContains(t, logs.String(), "[[[")
		records := kept(t, dir)
		require.Len(t, records, 6)
		require.Equal(t, "deep-waits", records[5]["id"])
		require.Equal(t, "ledger.log", records[5]["from"])
		require.Contains(t, records[5]["problem"], "command.parameters cannot be read")
		require.Contains(t, records[5]["bytes"], `{"a":`+nested(9_999)+`}`)
		require.NoError(t, l.Close())
		l, _ = logged(t, dir)
	}

	// It serves as any other, and the agent's word still counts.
	settle(t, l, "deep-runs", ack.Succeeded)
	_, s := stage("deep-runs")
	require.Equal(t, ack.Succeeded, s)
	settle(t, l, "deep-progress", ack.Succeeded)
	e, err := l.Get(t.Context(), appendTo(t, l, command.Options{}))
	require.NoError(t, err)
	require.EqualValues(t, 11, e.Seq, "numbers go on")
	n, err := l.Prune(t.Context(), time.Now().Add(time.Hour), 100)
	require.NoError(t, err)
	require.Equal(t, 8, n)
	for _, id := range []string{"archived-deep-result", "archived-deep-parameters", "deep-waits", "deep-result"} {
		_, err := l.Get(t.Context(), id)
		require.ErrorIs(t, err, ledger.ErrNotFound, id)
	}
}

// archived makes a ledger with some commands of a VM in the archive, and spoils the values of some: by ID.
func archived(t *testing.T, spoil map[string][]byte, ids ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l := open(t, dir)
	for _, id := range ids {
		appendTo(t, l, command.Options{ID: id, IdempotencyKey: "key-" + id})
		settle(t, l, id, ack.Failed)
	}
	_, err := l.Prune(t.Context(), time.Now().Add(time.Hour), 0)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.NoError(t, open(t, dir).Close()) // the log is written anew without them
	db, err := bbolt.Open(filepath.Join(dir, bolt.FileName), 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
		for id, value := range spoil {
			key := tx.Bucket([]byte("ids")).Get([]byte(id))
			require.NotEmpty(t, key)
			if value == nil {
				require.NoError(t, tx.Bucket([]byte("archive")).Delete(key))
				continue
			}
			require.NoError(t, tx.Bucket([]byte("archive")).Put(key, value))
		}
		return nil
	}))
	require.NoError(t, db.Close())
	return dir
}

// A value of the archive of which nothing can be read costs the request that asks for it, and no other; it is pruned like
// any other.
func TestBadValuesOfTheArchive(t *testing.T) {
	t.Parallel()
	bad := map[string][]byte{
		"garbage": []byte("\x00\xff"), "missing": nil, "empty": {}, "null": []byte("null"), "object": []byte("{}"),
		"no VM":  []byte(`{"seq":1,"command":{"id":"no VM"},"state":{"stage":"failed"}}`),
		"no seq": []byte(`{"vm_id":"vm-1","command":{"id":"no seq"},"state":{"stage":"failed"}}`),
		"no cmd": []byte(`{"vm_id":"vm-1","seq":1,"state":{"stage":"failed"}}`),
		"no ID":  []byte(`{"vm_id":"vm-1","seq":1,"command":{"type":"own"},"state":{"stage":"failed"}}`),
		"half":   []byte(`{"vm_id":"vm-1","seq":3,"command":{"id":"half"},"state":{"stage":"nonsense"}}`),
		"deep":   []byte(`{"vm_id":` + nested(10_001) + `,"seq":1}`),
	}
	ids := []string{"first", "last"}
	for id := range bad {
		ids = append([]string{id}, ids...)
	}
	dir := archived(t, bad, ids...)
	l, logs := logged(t, dir)
	for range 2 {
		for id := range bad {
			_, err := l.Get(t.Context(), id)
			require.ErrorIs(t, err, ledger.ErrUnreadable, id)
			edited, err := l.Update(t.Context(), "vm-1",
				ledger.Edit{ID: id, Do: func(*ledger.Entry) error { panic("of an entry that cannot be read") }},
				ledger.Edit{ID: "first", Do: func(*ledger.Entry) error { return nil }})
			require.NoError(t, err)
			require.ErrorIs(t, edited[0].Err, ledger.ErrUnreadable, id)
			require.NoError(t, edited[1].Err)
			for _, o := range []command.Options{{ID: id}, {IdempotencyKey: "key-" + id}} {
				c, err := command.New(command.Drain{}, o)
				require.NoError(t, err)
				_, err = l.Append(t.Context(), "vm-1", c, ledger.Limits{}, time.Now())
				require.ErrorIs(t, err, ledger.ErrUnreadable, id)
			}
		}
		list, err := l.List(t.Context(), "vm-1", 0, 100)
		require.NoError(t, err)
		require.Len(t, list, 2)
		list, err = l.List(t.Context(), "vm-1", list[0].Seq, 100)
		require.NoError(t, err)
		require.Len(t, list, 1)
	}
	require.Equal(t, len(bad), strings.Count(logs.String(), "an archived entry cannot be read"), "each is said once")
	appendTo(t, l, command.Options{ID: "new"})
	vms, err := l.VMs(t.Context(), ledger.VMQuery{})
	require.NoError(t, err)
	require.Equal(t, []ledger.VM{{Name: "vm-1", Pending: 1}}, vms)

	n, err := l.Prune(t.Context(), time.Now().Add(time.Hour), 100)
	require.NoError(t, err)
	require.Equal(t, len(ids), n)
	for _, id := range ids {
		_, err := l.Get(t.Context(), id)
		require.ErrorIs(t, err, ledger.ErrNotFound, id)
		appendTo(t, l, command.Options{ID: id, IdempotencyKey: "key-" + id}) // both are free again
	}
	require.NoError(t, l.Close())
	db, err := bbolt.Open(filepath.Join(dir, bolt.FileName), 0o600, nil)
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.View(func(tx *bbolt.Tx) error {
		for _, bucket := range []string{"archive", "settled", "ids", "keys"} {
			require.Zero(t, tx.Bucket([]byte(bucket)).Stats().KeyN, bucket)
		}
		return nil
	}))
}

// An entry that is in the log, too, counts as it is there, and takes the place of the bad value, which is kept elsewhere.
func TestBadValueOfWhatIsInTheLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	appendTo(t, l, command.Options{ID: "c"})
	settle(t, l, "c", ack.Failed)
	require.NoError(t, l.Close())
	log, err := os.ReadFile(filepath.Join(dir, bolt.LogName))
	require.NoError(t, err)
	l = open(t, dir)
	_, err = l.Prune(t.Context(), time.Now().Add(time.Hour), 0)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	db, err := bbolt.Open(filepath.Join(dir, bolt.FileName), 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("archive")).Put(tx.Bucket([]byte("ids")).Get([]byte("c")), []byte("garbage"))
	}))
	require.NoError(t, db.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, bolt.LogName), log, 0o600)) // the crash came before it was written anew

	l, logs := logged(t, dir)
	e, err := l.Get(t.Context(), "c")
	require.NoError(t, err)
	require.Equal(t, ack.Failed, e.State.Stage)
	_, err = l.Prune(t.Context(), time.Now().Add(time.Hour), 0) // it is archived again
	require.NoError(t, err)
	require.Contains(t, logs.String(), "was set aside")
	records := kept(t, dir)
	require.Len(t, records, 1)
	require.Equal(t, "garbage", records[0]["bytes"])
	require.NoError(t, l.Close())
	l = open(t, dir)
	e, err = l.Get(t.Context(), "c")
	require.NoError(t, err)
	require.Equal(t, ack.Failed, e.State.Stage)
	n, err := l.Prune(t.Context(), time.Now().Add(time.Hour), 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// A late word of the agent changes an archived entry of which a part cannot be read, and the bytes are kept before.
func TestALateWordOnABadValue(t *testing.T) {
	t.Parallel()
	value := []byte(`{"vm_id":"vm-1","seq":1,"command":{"id":"c","type":"own","parameters":{"a":1},"created_at":"2026-01-02T03:04:05Z"},` +
		`"state":{"stage":"dead","attempt":10,"verdict":true},"result":` + nested(10_000) + `,"updated_at":"2026-01-02T03:04:05Z","version":12,"history":[{"stage":"queued","at":"2026-01-02T03:04:05Z"}]}`)
	dir := archived(t, map[string][]byte{"c": value}, "c")
	l, _ := logged(t, dir)
	settle(t, l, "c", ack.Succeeded)
	records := kept(t, dir)
	require.Len(t, records, 1)
	require.Equal(t, string(value), records[0]["bytes"])
	require.Equal(t, "c", records[0]["id"])
	require.NoError(t, l.Close())
	l, logs := logged(t, dir)
	e, err := l.Get(t.Context(), "c")
	require.NoError(t, err)
	require.Equal(t, ack.Succeeded, e.State.Stage)
	require.NotContains(t, logs.String(), "cannot be read")
}

// What cannot be set aside is not given up: the ledger does not open, and is as it was.
func TestNoRoomToSetAside(t *testing.T) {
	t.Parallel()
	dir := earlier(t)
	path := filepath.Join(dir, bolt.UnreadableName)
	require.NoError(t, os.Mkdir(path, 0o700))
	before, err := os.ReadFile(filepath.Join(dir, bolt.LogName))
	require.NoError(t, err)
	_, err = bolt.Open(dir, bolt.Options{})
	require.ErrorContains(t, err, bolt.UnreadableName)
	after, err := os.ReadFile(filepath.Join(dir, bolt.LogName))
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NoError(t, os.Remove(path))
	open(t, dir)
}
