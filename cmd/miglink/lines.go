package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/google/uuid"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/strict"
	"github.com/miglink/miglink/transport"
)

// maxLine bounds a line of a file, in bytes.
const maxLine = 2 * command.MaxParameters

// byteOrderMark is what editors and shells on Windows begin a file of UTF-8 with.
const byteOrderMark = "\uFEFF"

// line is a command of a file.
type line struct {
	admin.Send
	number int
}

// runID is one sending of a file, a UUID of version 7. The IDs of its lines are made of it, so that who has it can go on with
// the file and send nothing twice, and of nothing else that is known, so that nobody else can guess them.
type runID uuid.UUID

// newRun begins a run, or goes on with the one of that name.
func newRun(name string) (runID, error) {
	if name == "" {
		return runID(uuid.Must(uuid.NewV7())), nil
	}
	id, err := uuid.Parse(name)
	if err != nil || id.Version() != 7 {
		return runID{}, usage("--resume %.60q is not the run of a --file, as it was printed when that began", name)
	}
	return runID(id), nil
}

func (r runID) String() string { return uuid.UUID(r).String() }

// id is the ID of a line, a UUID of version 7 with the time of the run. nth counts lines that are the same: where a file is
// changed before it is gone on with, lines that were in it keep their IDs.
func (r runID) id(text []byte, nth int) string {
	h := sha256.New()
	h.Write(r[:])
	h.Write(strconv.AppendInt(nil, int64(nth), 10))
	h.Write([]byte{' '})
	h.Write(text)
	id := uuid.UUID(h.Sum(nil)[:16])
	copy(id[:6], r[:6])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// readLines reads and validates all commands of a file; a bad line is named by its number. Unknown lets pass parameters that
// a known type does not have.
func readLines(name string, r runID, unknown bool) ([]line, error) {
	in := os.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	var list []line
	chosen := map[string]int{}  // lines, by the ID that they choose
	keys := map[[2]string]int{} // lines, by their VM and idempotency key
	same := map[[sha256.Size]byte]int{}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		text := lines.Bytes()
		if n == 1 {
			text = bytes.TrimPrefix(text, []byte(byteOrderMark))
		}
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		l := line{number: n}
		if err := strict.Unmarshal(text, &l.Send); err != nil {
			return nil, fmt.Errorf("%s line %d: %w", name, n, err)
		}
		switch {
		case l.ID == "":
			sum := sha256.Sum256(text)
			l.ID = r.id(text, same[sum])
			same[sum]++
		case chosen[l.ID] > 0:
			return nil, fmt.Errorf("%s line %d: it has the ID of line %d, so it would not be sent", name, n, chosen[l.ID])
		default:
			chosen[l.ID] = n
		}
		cmd, err := l.Command()
		if err == nil && !unknown {
			err = checkNames(cmd)
		}
		if err == nil {
			err = transport.ValidateVM(l.VM)
		}
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %w", name, n, err)
		}
		if key := [2]string{l.VM, l.IdempotencyKey}; l.IdempotencyKey != "" {
			if keys[key] > 0 {
				return nil, fmt.Errorf("%s line %d: it has the VM and the idempotency key of line %d, so it would not be sent", name, n, keys[key])
			}
			keys[key] = n
		}
		list = append(list, l)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("%s line %d is longer than %d bytes; parameters have at most %d", name, n+1, maxLine, command.MaxParameters)
	case err != nil:
		return nil, fmt.Errorf("%s line %d: %w", name, n+1, err)
	}
	return list, nil
}
