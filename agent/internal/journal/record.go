package journal

import (
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

// errTorn is for what a crash in the middle of a write leaves at the end of a file.
var errTorn = errors.New("journal: torn record")

// readRecord reads the first record of b and returns what follows it.
func readRecord(b []byte) (Record, []byte, error) {
	if len(b) < frameHead {
		return Record{}, nil, errTorn
	}
	n := binary.LittleEndian.Uint32(b)
	sum := binary.LittleEndian.Uint32(b[4:])
	if n > maxRecord || int(n) > len(b)-frameHead {
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
