// Package setaside keeps what a ledger or a journal holds and cannot read, in a file beside it: whoever opens it goes on
// without, and nothing is lost for good.
package setaside

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/miglink/miglink/internal/logfile"
)

// Record is one entry that could not be read. In the file each is a line of JSON, and Bytes is base64: what could not be
// read as JSON before would not be now.
type Record struct {
	From    string `json:"from"` // the name of the file that held it
	VM      string `json:"vm_id,omitempty"`
	ID      string `json:"id,omitempty"` // of the command; empty where not even that could be read
	Problem string `json:"problem"`
	Bytes   []byte `json:"bytes"`
}

// Append adds records to the file at path, which only its owner may read: parameters may hold secrets. They are durable
// when it returns nil; otherwise the file is as it was, so that the same records can be added later. Without records it makes
// no file.
func Append(path string, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	var lines bytes.Buffer
	for _, r := range records {
		line, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("set aside in %s: %w", path, err)
		}
		lines.Write(append(line, '\n'))
	}
	if err := appendTo(path, lines.Bytes()); err != nil {
		return fmt.Errorf("set aside: %w", err)
	}
	return nil
}

// appendTo appends all of b, durably, or nothing.
func appendTo(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if err = logfile.RoomFor(f, int64(len(b))); err == nil {
		_, err = f.Write(b)
	}
	if err = errors.Join(err, f.Sync()); err != nil {
		err = errors.Join(err, f.Close())
		if info.Size() == 0 {
			return errors.Join(err, os.Remove(path))
		}
		return errors.Join(err, os.Truncate(path, info.Size())) // half a line would spoil the next one
	}
	return errors.Join(f.Close(), logfile.SyncDir(filepath.Dir(path))) // the file may be new
}

// Most is how many IDs a line of a log names.
const Most = 20

// IDs are those of the first records, for a log; what has no ID is not among them.
func IDs(records []Record) []string {
	var ids []string
	for _, r := range records {
		if len(ids) == Most {
			break
		}
		if r.ID != "" {
			ids = append(ids, r.ID)
		}
	}
	return ids
}
