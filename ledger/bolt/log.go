package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
	err = logfile.Read(b, l.header(), func(content []byte) error {
		for line := range bytes.Lines(content) {
			e, err := decodeEntry(line)
			if err != nil {
				return err
			}
			l.live.put(e.Redacted(l.redact)) // an older version kept secrets
		}
		return nil
	})
	if errors.Is(err, logfile.ErrKind) {
		return fmt.Errorf("%s is not of this %s", LogName, FileName)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", LogName, err)
	}
	var archived []*ledger.Entry
	err = l.db.View(func(tx *bolt.Tx) error {
		for _, e := range l.live.settledEntries() {
			there, err := findArchived(tx, e.Command.ID)
			switch {
			case err == nil && there.Version >= e.Version:
				archived = append(archived, e)
			case err != nil && !errors.Is(err, ledger.ErrNotFound):
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

// rewriteLog replaces the log by one with the present states alone.
func (l *Ledger) rewriteLog(entries *recent) error {
	records := make([]byte, 0, usualEntry*len(entries.nodes))
	for _, e := range entries.all() {
		var err error
		if records, err = appendEntries(records, []*ledger.Entry{e}); err != nil {
			return err
		}
	}
	file, err := logfile.Create(l.logPath(), l.header(), records)
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

// appendEntries appends a record of entries, a line each.
func appendEntries(b []byte, entries []*ledger.Entry) ([]byte, error) {
	return logfile.Append(b, func(b []byte) (_ []byte, err error) {
		for _, e := range entries {
			if b, err = appendEntry(b, e); err != nil {
				return b, err
			}
			b = append(b, '\n')
		}
		return b, nil
	})
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
