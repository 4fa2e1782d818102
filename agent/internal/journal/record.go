package journal

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

// Record is one line of a journal: exactly one of its fields besides ID is set.
type Record struct {
	ID       string              `json:"id"`
	Received *transport.Delivery `json:"received,omitempty"` // the command is held
	Started  int                 `json:"started,omitempty"`  // its handler begins, at this attempt
	Finished *ack.Ack            `json:"finished,omitempty"` // what came of it
	Recorded bool                `json:"recorded,omitempty"` // the controller knows
}

const header = "miglink-journal 1\n"

func appendRecord(b []byte, r Record) ([]byte, error) {
	content, err := wirejson.Marshal(r)
	if err != nil {
		return b, err
	}
	return logfile.Append(b, func(b []byte) ([]byte, error) { return append(b, content...), nil })
}

// read adds up the records of a file, without those that a crash has torn.
func read(b []byte) (*state, error) {
	s := newState()
	err := logfile.Read(b, header, func(content []byte) error {
		var r Record
		if err := json.Unmarshal(content, &r); err != nil {
			return fmt.Errorf("a record with a good checksum does not decode: %w", err)
		}
		s.apply(r)
		return nil
	})
	switch {
	case errors.Is(err, logfile.ErrKind):
		return nil, errors.New("journal: not a journal of this version")
	case err != nil:
		return nil, fmt.Errorf("journal: %w", err)
	}
	return s, nil
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
