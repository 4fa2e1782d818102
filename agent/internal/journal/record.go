package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/miglink/miglink/ack"
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

const (
	header    = "miglink-journal 1\n"
	frameHead = 8       // length and CRC-32C of the payload, little-endian
	maxRecord = 4 << 20 // bytes of a payload
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendRecord(b []byte, r Record) ([]byte, error) {
	payload, err := wirejson.Marshal(r)
	if err != nil {
		return b, err
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	return append(b, payload...), nil
}

// read adds up the records of a file, without those that a crash has torn.
func read(b []byte) (*state, error) {
	s := newState()
	if len(b) == 0 {
		return s, nil
	}
	rest, ok := bytes.CutPrefix(b, []byte(header))
	if !ok {
		return nil, errors.New("journal: not a journal of this version")
	}
	for len(rest) > 0 {
		r, next, err := readRecord(rest)
		if errors.Is(err, errTorn) {
			return s, checkTail(rest)
		}
		if err != nil {
			return nil, err
		}
		s.apply(r)
		rest = next
	}
	return s, nil
}

// checkTail tells a write that a crash has torn, after which there is nothing, from damage in the
// middle, after which good records follow.
func checkTail(rest []byte) error {
	for i := 1; i+frameHead < len(rest); i++ {
		if r, _, err := readRecord(rest[i:]); err == nil && r.ID != "" {
			return errors.New("journal: damaged: good records follow a bad one")
		}
	}
	return nil
}

// encode is a file that says what s does.
func (s *state) encode() ([]byte, error) {
	b := []byte(header)
	for _, r := range s.records() {
		var err error
		if b, err = appendRecord(b, r); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// errTorn is for what a crash in the middle of a write leaves at the end of a file.
var errTorn = errors.New("journal: torn record")

// readRecord reads the first record of b and returns what follows it.
func readRecord(b []byte) (Record, []byte, error) {
	if len(b) < frameHead {
		return Record{}, nil, errTorn
	}
	n := binary.LittleEndian.Uint32(b)
	sum := binary.LittleEndian.Uint32(b[4:])
	if n == 0 || n > maxRecord || int(n) > len(b)-frameHead { // zeros are what a power cut may leave
		return Record{}, nil, errTorn
	}
	payload, rest := b[frameHead:frameHead+n], b[frameHead+n:]
	if crc32.Checksum(payload, castagnoli) != sum {
		return Record{}, nil, errTorn
	}
	var r Record
	if err := json.Unmarshal(payload, &r); err != nil {
		return Record{}, nil, fmt.Errorf("journal: a record with a good checksum does not decode: %w", err)
	}
	return r, rest, nil
}
