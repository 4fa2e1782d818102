package bolt

import (
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/document"
	"github.com/miglink/miglink/internal/setaside"
	"github.com/miglink/miglink/ledger"
)

// UnreadableName is that of a file in the ledger's directory, which there is only where a ledger of an earlier version has
// stored what it could not read again. Each line is a JSON object with the bytes of one entry, in base64, and what is known
// of it. Only its owner may read it, and nobody deletes it but an operator: the bytes may hold secrets.
//
// Of such an entry the ledger keeps what it can read: identity, state and history. One that is not settled, and whose
// parameters are lost, nobody can run: it is concluded as dead, with a reason that says so.
const UnreadableName = "ledger.unreadable"

// readEntry reads an entry. Where a problem is said, it is as much as could be read: nil, or an entry with identity, state
// and history. Documents that other readers could not read are a problem, too.
func readEntry(b []byte, now time.Time) (e *ledger.Entry, problem string) {
	e, err := decodeWhole(b)
	if err == nil && readableAgain(e) {
		return e, ""
	}
	kept, left, ok := document.Salvage(b, "command")
	if ok {
		e, err = decodeWhole(kept)
	}
	switch {
	case err != nil:
		return nil, err.Error()
	case !ok: // it decodes, and is nested too deep in a way that no ledger has written
		return nil, "an entry has a document that is nested too deep"
	}
	problem = strings.Join(left, " and ") + " cannot be read: nested too deep, or not JSON"
	if slices.Contains(left, "command.parameters") {
		e.Command.Parameters = command.Parameters("{}")
		e.Conclude(ack.Dead, "", "its parameters cannot be read: they were accepted by an earlier version, nested deeper than is possible", now)
	}
	if slices.Contains(left, "result") && e.Reason == "" {
		e.Reason = "its result cannot be read: it was accepted by an earlier version, nested deeper than is possible"
	}
	return e, problem
}

// decodeWhole reads an entry that has all that others rely on.
func decodeWhole(b []byte) (*ledger.Entry, error) {
	e, err := decodeEntry(b)
	if err == nil && (e.VM == "" || e.Seq == 0 || e.Command == nil || e.Command.ID == "" || !e.State.Stage.Known()) {
		err = errors.New("an entry has no VM, number, command or stage")
	}
	return e, err
}

// readableAgain says whether the documents of an entry can be put into others: into frames, and answers to operators.
func readableAgain(e *ledger.Entry) bool {
	for _, doc := range [][]byte{e.Command.Parameters, e.Result} {
		if _, ok := document.Depth(doc); len(doc) > 0 && !ok {
			return false
		}
	}
	return true
}

// aside is what could not be read. It is safe for concurrent use.
type aside struct {
	path string // of the file
	log  *slog.Logger

	mu   sync.Mutex
	told map[string]bool // which values of the archive a line of the log was about, by their keys
}

func newAside(dir string, log *slog.Logger) *aside {
	return &aside{path: filepath.Join(dir, UnreadableName), log: log.With("component", "ledger"), told: map[string]bool{}}
}

// unreadLines are the lines of a log that could not be read: of each command the latest, unless a later state of it could.
type unreadLines struct {
	ofCommands map[string]setaside.Record // by ID
	others     []setaside.Record
}

// note notes what came of a line.
func (u *unreadLines) note(e *ledger.Entry, problem string, line []byte) {
	switch {
	case problem == "" && len(u.ofCommands) == 0: // as nearly always
	case problem == "":
		delete(u.ofCommands, e.Command.ID) // it says all that the earlier one did
	case e == nil:
		u.others = append(u.others, setaside.Record{From: LogName, Problem: problem, Bytes: slices.Clone(line)})
	default:
		if u.ofCommands == nil {
			u.ofCommands = map[string]setaside.Record{}
		}
		u.ofCommands[e.Command.ID] = setaside.Record{From: LogName, VM: e.VM, ID: e.Command.ID, Problem: problem, Bytes: slices.Clone(line)}
	}
}

// keepLines keeps lines of the log, and says so.
func (a *aside) keepLines(u *unreadLines) error {
	records := u.others
	for _, id := range slices.Sorted(maps.Keys(u.ofCommands)) {
		records = append(records, u.ofCommands[id])
	}
	if len(records) == 0 {
		return nil
	}
	a.log.Error("the ledger held entries that cannot be read; they were set aside, and it goes on with what could be read of them",
		"entries", len(records), "command_ids", setaside.IDs(records), "kept_in", a.path)
	return setaside.Append(a.path, records)
}

// mostTold is how many values of the archive the log tells of, while a ledger is open.
const mostTold = 10_000

// inArchive says the first time that a value of the archive cannot be read. It stays where it is until it is changed or
// forgotten.
func (a *aside) inArchive(key []byte, e *ledger.Entry, problem string) {
	a.mu.Lock()
	again := a.told[string(key)] || len(a.told) == mostTold
	if !again {
		a.told[string(key)] = true
	}
	a.mu.Unlock()
	if again {
		return
	}
	id := ""
	if e != nil {
		id = e.Command.ID
	}
	a.log.Error("an archived entry cannot be read", "file", FileName, "vm_id", vmOf(key), "command_id", id, "problem", problem)
}

// keepArchived keeps a value of the archive that is about to be overwritten, if it cannot be read.
func (a *aside) keepArchived(key, value []byte) error {
	e, problem := readEntry(value, time.Time{})
	if problem == "" {
		return nil
	}
	r := setaside.Record{From: FileName, VM: vmOf(key), Problem: problem, Bytes: slices.Clone(value)}
	if e != nil {
		r.ID = e.Command.ID
	}
	a.log.Error("an archived entry that cannot be read was set aside", "vm_id", r.VM, "command_id", r.ID, "kept_in", a.path)
	return setaside.Append(a.path, []setaside.Record{r})
}
