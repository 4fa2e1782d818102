// Package logfile keeps records in an append-only file: a header that names its kind, and then the records,
// each with its length and checksum. What a crash has torn off the end is told from damage in the middle.
package logfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Errors of Read.
var (
	ErrKind    = errors.New("the header is another")
	ErrDamaged = errors.New("damaged: good records follow a bad one")
)

const headSize = 8 // length and CRC-32C of the content, little-endian

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append appends a record whose content write appends. Nobody has written a record that is empty.
func Append(b []byte, write func([]byte) ([]byte, error)) ([]byte, error) {
	begin := len(b)
	out, err := write(append(b, make([]byte, headSize)...))
	if err != nil {
		return b, err
	}
	content := out[begin+headSize:]
	binary.LittleEndian.PutUint32(out[begin:], uint32(len(content)))
	binary.LittleEndian.PutUint32(out[begin+4:], crc32.Checksum(content, castagnoli))
	return out, nil
}

// Read calls each with the content of each record of a file, but for those that a crash has torn: they had
// not been written. It stops at an error of each.
func Read(b []byte, header string, each func(content []byte) error) error {
	_, err := ReadSize(b, header, each)
	return err
}

// ReadSize is Read that also says how many bytes of the file count, for Open.
func ReadSize(b []byte, header string, each func(content []byte) error) (size int64, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	rest, ok := bytes.CutPrefix(b, []byte(header))
	if !ok {
		return 0, ErrKind
	}
	for len(rest) > 0 {
		content, next, ok := first(rest)
		if !ok {
			return int64(len(b) - len(rest)), checkTail(rest)
		}
		if err := each(content); err != nil {
			return 0, err
		}
		rest = next
	}
	return int64(len(b)), nil
}

// first returns the content of the first record of b and what follows it; false: it is not whole.
func first(b []byte) (content, rest []byte, ok bool) {
	if len(b) < headSize {
		return nil, nil, false
	}
	n, sum := uint64(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint32(b[4:])
	if n == 0 || n > uint64(len(b)-headSize) { // zeros are room for more, or what a power cut has left
		return nil, nil, false
	}
	content, rest = b[headSize:headSize+n], b[headSize+n:]
	return content, rest, crc32.Checksum(content, castagnoli) == sum
}

// checkTail tells a write that a crash has torn, after which there is nothing, from damage in the middle,
// after which good records follow.
func checkTail(rest []byte) error {
	for i := 1; i+headSize < len(rest); i++ {
		if _, _, ok := first(rest[i:]); ok {
			return ErrDamaged
		}
	}
	return nil
}
