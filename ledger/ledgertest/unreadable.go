package ledgertest

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// badDocuments could not be read again: the first is no JSON, and whoever reads the others gives up at their depth.
var badDocuments = []string{"{", nested(command.MaxDepth + 1), nested(10_000), "\x00", "1 2"}

var noYear = time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)

// badEdits make of an entry what could not be read again.
func badEdits() map[string]func(e *ledger.Entry) error {
	now := time.Unix(1_700_000_000, 0)
	edits := map[string]func(e *ledger.Entry) error{
		"a time":             func(e *ledger.Entry) error { return e.Acked(ack.Ack{Stage: ack.Succeeded}, ledger.Speaker{}, noYear) },
		"a reason":           func(e *ledger.Entry) error { e.Conclude(ack.Dead, "", "\xff", now); return nil },
		"a cancel":           func(e *ledger.Entry) error { e.RequestCancel("", noYear); return nil },
		"a cancel's reason":  func(e *ledger.Entry) error { e.RequestCancel("\x00", now); return nil },
		"a deferral":         func(e *ledger.Entry) error { e.NotBefore = noYear; return nil },
		"no result, a stage": func(e *ledger.Entry) error { e.Conclude(ack.Dead, "", "\x00", now); return nil },
	}
	for i, doc := range badDocuments {
		edits[fmt.Sprint("result ", i)] = func(e *ledger.Entry) error {
			return e.Acked(ack.Ack{Stage: ack.Succeeded, Result: json.RawMessage(doc)}, ledger.Speaker{}, now)
		}
	}
	return edits
}

// testUnreadable: what could not be read again is refused, and nothing of it is stored.
func testUnreadable(s *suite) {
	good := s.append("vm-1", command.Options{SupersedeKey: "k"})
	bad := func(c command.Command) {
		c.ID, c.SupersedeKey = "bad", "k"
		_, err := s.l.Append(s.Context(), "vm-1", c, ledger.Limits{}, s.now)
		require.ErrorIs(s, err, ledger.ErrUnreadable)
		_, err = s.l.Get(s.Context(), "bad")
		require.ErrorIs(s, err, ledger.ErrNotFound)
		require.Equal(s, ack.Queued, s.get(good.Command.ID).State.Stage, "it supersedes nothing")
	}
	for _, doc := range badDocuments {
		c := s.command(command.Options{})
		c.Parameters = command.Parameters(doc)
		bad(c)
	}
	late := s.command(command.Options{})
	late.ExpiresAt = noYear
	bad(late)
	for name, do := range badEdits() {
		out, err := s.l.Update(s.Context(), "vm-1", ledger.Edit{ID: good.Command.ID, Do: do})
		require.NoError(s, err, name)
		require.ErrorIs(s, out[0].Err, ledger.ErrUnreadable, name)
		require.False(s, out[0].Changed)
		require.Equal(s, good, s.get(good.Command.ID), name)
		noted := s.l.Note("vm-1", ledger.Edit{ID: good.Command.ID, Do: do})
		require.ErrorIs(s, noted[0].Err, ledger.ErrUnreadable, name)
		require.Equal(s, good, s.get(good.Command.ID), name)
	}
	require.EqualValues(s, 2, s.append("vm-1", command.Options{}).Seq, "a refusal uses no number")
	require.Equal(s, ack.Succeeded, s.acked("vm-1", good.Command.ID, ack.Succeeded).Entry.State.Stage)
}

// testUnreadableTogether writes good and bad at the same time, and in one call: each bad one fails alone.
func testUnreadableTogether(s *suite) {
	const vms = 16
	var writers sync.WaitGroup
	for i := range vms {
		vm := fmt.Sprint("vm-", i)
		writers.Go(func() {
			for range 5 {
				c := s.command(command.Options{})
				c.Parameters = command.Parameters(badDocuments[i%len(badDocuments)])
				_, err := s.l.Append(s.Context(), vm, c, ledger.Limits{}, s.now)
				check(s, err != nil, "parameters that cannot be read were stored")
			}
		})
		writers.Go(func() {
			for n := range uint64(5) {
				first := s.command(command.Options{})
				a, err := s.l.Append(s.Context(), vm, first, ledger.Limits{}, s.now)
				if !check(s, err == nil && a.Created && a.Entry.Seq == n+1, "a good command fails beside bad ones: %v", err) {
					return
				}
				edits := []ledger.Edit{s.edit(first.ID, ack.Received)}
				for _, do := range badEdits() {
					edits = append(edits, ledger.Edit{ID: first.ID, Do: do})
				}
				edits = append(edits, s.edit(first.ID, ack.Started))
				out, err := s.l.Update(s.Context(), vm, edits...)
				if !check(s, err == nil && len(out) == len(edits), "a call with a bad edit fails: %v", err) {
					return
				}
				for at, one := range out {
					good := at == 0 || at == len(out)-1
					check(s, good == (one.Err == nil), "edit %d of %d: %v", at, len(out), one.Err)
				}
				e, err := s.l.Get(s.Context(), first.ID)
				check(s, err == nil && e.State.Stage == ack.Started && len(e.History) == 3, "%+v, %v", e, err)
			}
		})
	}
	writers.Wait()
}

// check fails the test from any goroutine.
func check(s *suite, ok bool, format string, args ...any) bool {
	s.Helper()
	if !ok {
		s.Errorf(format, args...)
	}
	return ok
}

// testPanics: an edit that panics fails, and no other.
func testPanics(s *suite) {
	one, other := s.append("vm-1", command.Options{}), s.append("vm-1", command.Options{})
	panics := ledger.Edit{ID: one.Command.ID, Do: func(e *ledger.Entry) error {
		e.Conclude(ack.Dead, "", "half done", s.now)
		panic("on purpose")
	}}
	out, err := s.l.Update(s.Context(), "vm-1", panics, s.edit(other.Command.ID, ack.Succeeded))
	require.NoError(s, err)
	require.ErrorContains(s, out[0].Err, "it panicked")
	require.NoError(s, out[1].Err)
	require.Equal(s, one, s.get(one.Command.ID))
	require.Equal(s, ack.Succeeded, s.get(other.Command.ID).State.Stage)
	require.ErrorContains(s, s.l.Note("vm-1", panics)[0].Err, "it panicked")
	require.Equal(s, ack.Succeeded, s.acked("vm-1", one.Command.ID, ack.Succeeded).Entry.State.Stage)
}

// testRedactPanics: what would settle a command whose Redact panics fails, and nothing else does.
func testRedactPanics(s *suite) {
	s.l.Redact(func(t command.Type, p command.Parameters) command.Parameters {
		if strings.Contains(string([]byte(p)), token) {
			panic("on purpose")
		}
		return command.DropSecrets(t, p)
	})
	bad := s.appendCommand("vm-1", s.runner(token, command.Options{SupersedeKey: "k"}))
	good := s.append("vm-1", command.Options{})
	out, err := s.l.Update(s.Context(), "vm-1", s.edit(bad.Command.ID, ack.Succeeded), s.edit(good.Command.ID, ack.Succeeded))
	require.NoError(s, err)
	require.ErrorContains(s, out[0].Err, "it panicked")
	require.NoError(s, out[1].Err)
	_, err = s.l.Append(s.Context(), "vm-1", s.command(command.Options{SupersedeKey: "k"}), ledger.Limits{}, s.now)
	require.ErrorContains(s, err, "it panicked")
	require.Equal(s, bad, s.get(bad.Command.ID))
	require.EqualValues(s, 3, s.append("vm-1", command.Options{}).Seq)
}

// testWhiteSpace sends a command again whose parameters are written otherwise.
func testWhiteSpace(s *suite) {
	c := s.command(command.Options{ID: "c", IdempotencyKey: "k"})
	c.Parameters = command.Parameters("{\r\n \"a\" : [ 1 , 2 ]\n}")
	s.appendCommand("vm-1", c)
	for range 2 {
		for parameters, same := range map[string]bool{string(c.Parameters): true, `{"a":[1,2]}`: true, `{"a":[1,2 ]} `: true, `{"a":[12]}`: false, `{"a":[1,2],"b":1}`: false} {
			again := c
			again.Parameters = command.Parameters(parameters)
			_, err := s.l.Append(s.Context(), "vm-1", again, ledger.Limits{}, s.now)
			if same {
				require.NoError(s, err, parameters)
			} else {
				require.ErrorIs(s, err, ledger.ErrConflict, parameters)
			}
		}
		s.acked("vm-1", "c", ack.Succeeded)
	}
}

// testUnreadableReopen: after bad and good requests all that was accepted is there, as it was; a command that is sent again
// is the same.
func testUnreadableReopen(s *suite) {
	testUnreadable(s)
	c := s.command(command.Options{IdempotencyKey: "k"})
	c.Parameters = command.Parameters("{\n\"deep\": " + nested(command.MaxDepth-1) + "\n}")
	s.appendCommand("vm-2", c)
	out, err := s.l.Update(s.Context(), "vm-2", ledger.Edit{ID: c.ID, Do: func(e *ledger.Entry) error {
		return e.Acked(ack.Ack{Stage: ack.Progress, Reason: "\x1b é 😀", Result: json.RawMessage(nested(ack.MaxDepth))}, ledger.Speaker{}, s.now)
	}})
	require.NoError(s, err)
	require.NoError(s, out[0].Err)
	s.reopen()
	e := s.get(c.ID)
	require.JSONEq(s, string(c.Parameters), string(e.Command.Parameters))
	require.Equal(s, nested(ack.MaxDepth), string(e.Result))
	require.Equal(s, "\x1b é 😀", e.Reason)
	a, err := s.l.Append(s.Context(), "vm-2", c, ledger.Limits{}, s.now)
	require.NoError(s, err)
	require.False(s, a.Created)
}
