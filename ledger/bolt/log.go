package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/ledger"
)

// LogName is that of the log in the ledger's directory.
const LogName = "ledger.log"

// minCompact is the size up to which a log is left alone, in bytes.
const minCompact = 32 << 20

// header names the ledger that a log is of: its file may not be exchanged.
func (l *Ledger) header() string { return "miglink-ledger 1 " + l.epoch + "\n" }

func (l *Ledger) logPath() string { return filepath.Join(l.dir, LogName) }

// openLog reads the log, and writes it anew without what has come into the archive.
func (l *Ledger) openLog(known bool) error {
	b, err := os.ReadFile(l.logPath())
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case len(b) == 0 && known:
		return fmt.Errorf("%s is missing, and with it the commands that are not in %s", LogName, FileName)
	}
	unread, err := l.readLog(b)
	if err != nil {
		return err
	}
	// Before the log is written anew without them.
	if err := l.aside.keepLines(&unread); err != nil {
		return err
	}
	var archived []*ledger.Entry
	err = l.db.View(func(tx *bolt.Tx) error {
		for _, e := range l.live.settledEntries() {
			there, err := l.findArchived(tx, e.Command.ID)
			switch {
			case err == nil && there.Version >= e.Version:
				archived = append(archived, e)
			case err != nil && !errors.Is(err, ledger.ErrNotFound) && !errors.Is(err, ledger.ErrUnreadable):
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.live.drop(archived)
	return l.rewriteLog(l.live)
}

// readLog puts what the log holds into live. A record with a good checksum was written by a ledger: an entry of it that
// cannot be read is set aside, as much of it as can be salvaged counts, and so do all others.
func (l *Ledger) readLog(b []byte) (unread unreadLines, err error) {
	err = logfile.Read(b, l.header(), func(content []byte) error {
		for line := range bytes.Lines(content) {
			e, problem := readEntry(line, time.Now())
			unread.note(e, problem, line)
			if e != nil {
				l.live.put(e.Redacted(l.redact)) // an older version kept secrets
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, logfile.ErrKind):
		return unread, fmt.Errorf("%s is not of this %s", LogName, FileName)
	case err != nil:
		return unread, fmt.Errorf("%s: %w", LogName, err)
	}
	return unread, nil
}

// rewriteLog replaces the log by one with the present states alone.
func (l *Ledger) rewriteLog(entries *recent) error {
	records := make([]byte, 0, usualEntry*len(entries.nodes))
	for _, e := range entries.all() {
		var err error
		if records, err = logfile.Append(records, func(b []byte) ([]byte, error) { return appendLine(b, e) }); err != nil {
			return err
		}
	}
	file, err := logfile.Create(l.logPath(), l.header(), records, 0)
	if err != nil {
		return err
	}
	if l.log != nil {
		l.log.Close()
	}
	l.log, l.leftover = file, false
	l.secrets.gone()
	l.compactAt = max(minCompact, 3*file.Size())
	return nil
}

// appendLine appends an entry as a line of a record. If it fails b is as it was.
func appendLine(b []byte, e *ledger.Entry) ([]byte, error) {
	line, err := appendEntry(b, e)
	if err != nil {
		return b, err // what package time returns with an error is no part of it
	}
	return append(line, '\n'), nil
}

// lastSeqs are the highest numbers of VMs among the recent entries.
func lastSeqs(r *recent) map[string]uint64 {
	last := map[string]uint64{}
	for _, n := range r.nodes {
		e := n.Entry()
		last[e.VM] = max(last[e.VM], e.Seq)
	}
	return last
}
