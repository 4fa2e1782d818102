package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/document"
	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/internal/setaside"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

// Record is one line of a journal: exactly one of its fields besides ID is set, and Of with Recorded, Created with Finished.
type Record struct {
	ID       string              `json:"id"`
	Received *transport.Delivery `json:"received,omitempty"` // the command is held
	Started  int                 `json:"started,omitempty"`  // its handler begins, at this attempt
	Finished *ack.Ack            `json:"finished,omitempty"` // what came of it
	Created  time.Time           `json:"created,omitzero"`   // with Finished: when the command was created
	Recorded bool                `json:"recorded,omitempty"` // the controller knows
	Of       ack.Stage           `json:"of,omitempty"`       // that it has ended so; empty: how it has ended

	unreadable string // why Received has no parameters
}

const header = "miglink-journal 1\n"

func appendRecord(b []byte, r Record) ([]byte, error) {
	content, err := wirejson.Marshal(r)
	if err != nil {
		return b, err
	}
	return logfile.Append(b, func(b []byte) ([]byte, error) { return append(b, content...), nil })
}

// read adds up the records of a file, without those that a crash has torn. A record with a good checksum was written by an
// agent: one that cannot be read is set aside, and the others count.
// size is how many bytes of the file count.
func read(b []byte) (s *state, size int64, err error) {
	s = newState()
	size, err = logfile.ReadSize(b, header, func(content []byte) error {
		r, problem := decode(content)
		if problem != "" {
			s.aside = append(s.aside, setaside.Record{From: fileName, ID: r.ID, Problem: problem, Bytes: bytes.Clone(content)})
		}
		if r.ID != "" {
			s.apply(r)
		}
		return nil
	})
	switch {
	case errors.Is(err, logfile.ErrKind):
		return nil, 0, errors.New("journal: not a journal of this version")
	case err != nil:
		return nil, 0, fmt.Errorf("journal: %w", err)
	}
	return s, size, nil
}

// decode reads a record. Where a problem is said, r is what could be read of it: at least an ID, or nothing at all.
func decode(content []byte) (r Record, problem string) {
	err := json.Unmarshal(content, &r)
	if err == nil && r.readable() {
		return r, ""
	}
	kept, left, ok := document.Salvage(content, "received", "finished")
	r = Record{}
	if ok {
		err = json.Unmarshal(kept, &r)
	}
	if !ok || err != nil {
		return Record{}, fmt.Sprintf("a record does not decode: %v", err)
	}
	problem = strings.Join(left, " and ") + " cannot be read: nested too deep, or not JSON"
	switch {
	case r.Received != nil:
		// Not as parameters that are left out, which would be none: no handler may have them.
		r.Received.Parameters, r.unreadable = nil, problem
	case r.Finished != nil && r.Finished.Reason == "":
		r.Finished.Reason = "the result was left out: the agent's journal could not read it again"
	}
	return r, problem
}

// readable says whether what a record holds can be sent on.
func (r *Record) readable() bool {
	for _, doc := range [][]byte{r.parameters(), r.result()} {
		if _, ok := document.Depth(doc); len(doc) > 0 && !ok {
			return false
		}
	}
	return true
}

func (r *Record) parameters() []byte {
	if r.Received == nil {
		return nil
	}
	return r.Received.Parameters
}

func (r *Record) result() []byte {
	if r.Finished == nil {
		return nil
	}
	return r.Finished.Result
}

// encode is a file's records that say what s does.
func (s *state) encode() ([]byte, error) {
	var b []byte
	for _, r := range s.records() {
		var err error
		if b, err = appendRecord(b, r); err != nil {
			return nil, err
		}
	}
	return b, nil
}
