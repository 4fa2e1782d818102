package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/agent/internal/journal"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/linktest"
	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// badParameters are such that no controller of this version accepts them, by what is wrong with them.
var badParameters = map[string]command.Parameters{
	"nested more than":   command.Parameters(`{"a":` + nested(9_999) + "}"),
	"holds a NUL":        command.Parameters(`{"a":"\u0000"}`),
	"half of a":          command.Parameters(`{"a":"\ud800"}`),
	"not UTF-8":          command.Parameters("{\"a\":\"\xff\"}"),
	"not a JSON object":  command.Parameters("[1]"),
	"not JSON":           command.Parameters("{"),
	"bytes, at most 262": command.Parameters(`{"a":"` + strings.Repeat("x", command.MaxParameters) + `"}`),
}

// other is a controller of another version in front of that of a world: it accepts any parameters, and puts those of a
// command's idempotency key into it; it takes no results, if it is told not to.
type other struct {
	w          *world
	parameters map[string]command.Parameters
	started    bool // what it says of each
	noResults  bool

	mu    sync.Mutex
	dials int
}

func (o *other) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	o.mu.Lock()
	o.dials++
	o.mu.Unlock()
	l, err := o.w.c.Dial(ctx, h)
	if err != nil {
		return nil, err
	}
	l = otherLink{l, o}
	if o.w.direct {
		return linktest.Direct(l), nil
	}
	return l, nil
}

type otherLink struct {
	transport.Link
	o *other
}

func (l otherLink) Receive(ctx context.Context) ([]transport.Delivery, error) {
	page, err := l.Link.Receive(ctx)
	for i := range page {
		if p := l.o.parameters[page[i].IdempotencyKey]; p != nil {
			page[i].Parameters, page[i].Started = p, l.o.started
		}
	}
	return page, err
}

func (l otherLink) Ack(ctx context.Context, acks ...ack.Ack) error {
	errs := make(transport.AckErrors, len(acks))
	for i, a := range acks {
		if l.o.noResults && a.Result != nil {
			errs[i] = transport.Errorf(transport.CodeInvalid, "result: of a kind that is not known yet")
		} else if err := l.Link.Ack(ctx, a); err != nil {
			errs[i] = transport.AckError(err, 0)
		}
	}
	return errs.Of()
}

// A command whose parameters nobody may have is rejected, with the reason, and kept out of the journal; the link lives, and
// the commands beside it run.
func TestBadParametersAreRejected(t *testing.T) {
	inWorld(t, func(w *world) {
		journal := w.TempDir()
		up := &other{w: w, parameters: badParameters}
		a, err := agent.New(up, agent.Options{VM: "vm-1", Journal: journal})
		require.NoError(w, err)
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		for problem := range badParameters {
			bad := w.send(key("bad", "1s"), command.Options{IdempotencyKey: problem})
			good := w.send(key("good", "1s"), command.Options{})
			w.settled(bad, ack.Rejected, problem)
			w.settled(good, ack.Succeeded, "")
		}
		require.NoError(w, stop())
		require.NotContains(w, w.sofar(), "bad")
		require.Equal(w, 1, up.dials)

		// The next process reads the journal, and goes on.
		again := w.agent(agent.Options{Journal: journal})
		w.config(again, agent.Policy{})
		stop = run(w.T, again)
		w.settled(w.send(key("after", "1s"), command.Options{}), ack.Succeeded, "")
		require.NoError(w, stop())
		require.NoFileExists(w, filepath.Join(journal, "journal.unreadable"))
	})
}

// A cancel is held to the same.
func TestBadCancelIsRejected(t *testing.T) {
	inWorld(t, func(w *world) {
		a, err := agent.New(&other{w: w, parameters: map[string]command.Parameters{"bad": command.Parameters(`{"command_id":"\u0000"}`)}}, agent.Options{VM: "vm-1"})
		require.NoError(w, err)
		stop := run(w.T, a)
		w.settled(w.send(command.Cancel{CommandID: "x"}, command.Options{IdempotencyKey: "bad"}), ack.Rejected, "holds a NUL")
		require.NoError(w, stop())
	})
}

// Of one that had begun it cannot be said that it was not run.
func TestBadParametersOfWhatHadBegun(t *testing.T) {
	inWorld(t, func(w *world) {
		a, err := agent.New(&other{w: w, parameters: badParameters, started: true}, agent.Options{VM: "vm-1"})
		require.NoError(w, err)
		w.config(a, agent.Policy{AfterCrash: agent.RunAgain})
		agent.Handle(a, func(context.Context, *agent.Job, command.Shutdown) (any, error) { panic("it ran") }, agent.Policy{AfterCrash: agent.Completed})
		stop := run(w.T, a)
		w.settled(w.send(key("bad", "1s"), command.Options{IdempotencyKey: "nested more than"}), ack.Interrupted, "cannot run it again: invalid command: parameters: nested")
		w.settled(w.send(command.Shutdown{}, command.Options{IdempotencyKey: "not JSON"}), ack.Succeeded, "is back")
		require.NoError(w, stop())
		require.Empty(w, w.sofar())
	})
}

// panics is a result that cannot be marshalled, and an error without a text.
type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("no JSON") }

func (*panics) Error() string { panic("no text") }

// A handler that did what it was to do has succeeded, whatever it returns: what nobody could read is left out, and that is
// said. What it says of a failure is mended.
func TestBadResultsAreLeftOut(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{Journal: w.TempDir()})
		results := map[string]func() (any, error){
			"deep":      func() (any, error) { return json.RawMessage(nested(65)), nil },
			"deeper":    func() (any, error) { return json.RawMessage(nested(10_000)), nil },
			"nul":       func() (any, error) { return "a\x00b", nil },
			"half":      func() (any, error) { return json.RawMessage(`"\ud800"`), nil },
			"utf-8":     func() (any, error) { return json.RawMessage("\"\xff\""), nil },
			"no JSON":   func() (any, error) { return json.RawMessage("{"), nil },
			"panics":    func() (any, error) { return panics{}, nil },
			"mended":    func() (any, error) { return "\xff", nil },
			"nul error": func() (any, error) { return nil, errors.New("a\x00b\xffc") },
			"no error":  func() (any, error) { return nil, (*panics)(nil) },
			"reject":    func() (any, error) { return nil, agent.Reject("a\x00") },
		}
		agent.Handle(a, func(_ context.Context, _ *agent.Job, c command.UpdateConfig) (any, error) {
			return results[c.ConfigKey]()
		}, agent.Policy{})
		stop := run(w.T, a)
		for name, want := range map[string]struct {
			stage          ack.Stage
			reason, result string
		}{
			"deep":      {ack.Succeeded, "the result was left out: result: nested more than 64 levels", ""},
			"deeper":    {ack.Succeeded, "the result was left out: result: nested more than 64 levels", ""},
			"nul":       {ack.Succeeded, "holds a NUL", ""},
			"half":      {ack.Succeeded, "half of a surrogate pair", ""},
			"utf-8":     {ack.Succeeded, "not UTF-8", ""},
			"no JSON":   {ack.Succeeded, "the result is not JSON", ""},
			"panics":    {ack.Succeeded, "the result is not JSON: its MarshalJSON panicked", ""},
			"mended":    {ack.Succeeded, "", `"\ufffd"`},
			"nul error": {ack.Failed, "a\uFFFDb\uFFFDc", ""},
			"no error":  {ack.Failed, "an error of type *agent_test.panics, whose Error method panics", ""},
			"reject":    {ack.Rejected, "a\uFFFD", ""},
		} {
			e := w.settled(w.send(key(name, ""), command.Options{}), want.stage, want.reason)
			require.Equal(w, want.result, string(e.Result), name)
		}
		require.NoError(w, stop())
	})
}

// Progress that nobody could read is an error at once, and a reason is mended.
func TestBadProgress(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		agent.Handle(a, func(ctx context.Context, job *agent.Job, _ command.UpdateConfig) (any, error) {
			require.ErrorContains(w, job.Progress("", json.RawMessage(nested(65))), "nested more than 64")
			require.ErrorContains(w, job.Progress("", "\x00"), "holds a NUL")
			require.NoError(w, job.Progress("half\x00\xff", 1))
			<-ctx.Done()
			return nil, ctx.Err()
		}, agent.Policy{})
		stop := run(w.T, a)
		e, err := w.send(key("x", ""), command.Options{}).WaitFor(w.Context(), func(e ledger.Entry) bool { return e.State.Stage == ack.Progress })
		require.NoError(w, err)
		require.Equal(w, "half\uFFFD\uFFFD", e.Reason)
		require.NoError(w, stop())
	})
}

// What a controller does not take of an outcome does not cost the outcome: it is said again without.
func TestARefusedResultIsLeftOut(t *testing.T) {
	inWorld(t, func(w *world) {
		up := &other{w: w, noResults: true}
		a, err := agent.New(up, agent.Options{VM: "vm-1"})
		require.NoError(w, err)
		finally := make(chan struct{})
		agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.UpdateConfig) (any, error) {
			job.Finally(func() { close(finally) })
			return "a result", nil
		}, agent.Policy{})
		stop := run(w.T, a)
		w.settled(w.send(key("x", ""), command.Options{}), ack.Succeeded, "did not take the reason and the result: result: of a kind")
		<-finally
		require.NoError(w, stop())
		require.Equal(w, 1, up.dials)
	})
}

// left is a journal as an agent of before has left it, with records that it could not read again.
func left(t *testing.T, dir string, records ...string) {
	t.Helper()
	b := []byte("miglink-journal 1\n")
	for _, r := range records {
		var err error
		b, err = logfile.Append(b, func(b []byte) ([]byte, error) { return append(b, r...), nil })
		require.NoError(t, err)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "journal"), b, 0o600))
}

// A journal that holds what cannot be read does not keep the agent from starting: it goes on with the rest, concludes what
// it cannot run, and keeps the bytes.
func TestUnreadableJournal(t *testing.T) {
	inWorld(t, func(w *world) {
		deep := nested(9_999)
		command := func(id, parameters string) string {
			return `{"id":"` + id + `","received":{"cursor":"e.1.0","attempt":1,"id":"` + id + `","type":"update_config","parameters":` + parameters + `,"created_at":"2000-01-01T00:00:00Z"}}`
		}
		var receipts []*controller.Receipt
		for _, id := range []string{"deep", "begun", "done", "good", "nested"} {
			receipts = append(receipts, w.send(key(id, ""), commandOptions(id)))
		}
		dir := w.TempDir()
		left(w.T, dir,
			command("deep", `{"a":`+deep+`}`),
			command("begun", `{"a":`+deep+`}`), `{"id":"begun","started":1}`,
			command("done", `{"config_key":"done"}`), `{"id":"done","started":1}`, `{"id":"done","finished":{"command_id":"done","status":"succeeded","result":`+deep+`}}`,
			"no JSON at all", `{"id":"lost","received":7}`,
			command("good", `{"config_key":"good"}`),
			// Of these levels the record can be read, and what carries it on cannot.
			command("nested", `{"a":`+nested(9_990)+`}`),
		)
		var logs bytes.Buffer
		a := w.agent(agent.Options{Journal: dir, Log: slog.New(slog.NewTextHandler(&logs, nil))})
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		for i, want := range []struct {
			stage  ack.Stage
			reason string
		}{
			{ack.Rejected, "received.parameters cannot be read"}, {ack.Interrupted, "received.parameters cannot be read"}, {ack.Succeeded, "could not read it again"}, {ack.Succeeded, ""}, {ack.Rejected, "received.parameters cannot be read"},
		} {
			w.settled(receipts[i], want.stage, want.reason)
		}
		require.NoError(w, stop())
		require.Equal(w, "good", w.sofar())

		path := filepath.Join(dir, "journal.unreadable")
		require.Contains(w, logs.String(), "records=6")
		require.Contains(w, logs.String(), "kept_in="+path)
		require.Contains(w, logs.String(), "deep begun done nested")
		info, err := os.Stat(path)
		require.NoError(w, err)
		require.Equal(w, os.FileMode(0o600), info.Mode().Perm())
		kept, err := os.ReadFile(path)
		require.NoError(w, err)
		lines := strings.Split(strings.TrimSpace(string(kept)), "\n")
		require.Len(w, lines, 6)
		var first struct {
			ID, Problem, From string
			Bytes             []byte
		}
		require.NoError(w, json.Unmarshal([]byte(lines[0]), &first))
		require.Equal(w, "deep", first.ID)
		require.Equal(w, command("deep", `{"a":`+deep+`}`), string(first.Bytes))

		// The next start has nothing to say of it any more.
		logs.Reset()
		again := w.agent(agent.Options{Journal: dir, Log: slog.New(slog.NewTextHandler(&logs, nil))})
		w.config(again, agent.Policy{})
		stop = run(w.T, again)
		w.settled(w.send(key("after", "1s"), commandOptions("after")), ack.Succeeded, "")
		require.NoError(w, stop())
		require.NotContains(w, logs.String(), "cannot be read")
	})
}

// Where the disk has no room to set it aside, the log names the file that does hold it.
func TestUnreadableJournalOnAFullDisk(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := w.TempDir()
		left(w.T, dir, "no JSON at all")
		fill(dir, true)
		w.Cleanup(func() { fill(dir, false) })
		for _, kept := range []string{"journal", "journal.unreadable"} {
			var logs bytes.Buffer
			a := w.agent(agent.Options{Journal: dir, Log: slog.New(slog.NewTextHandler(&logs, nil))})
			w.config(a, agent.Policy{})
			stop := run(w.T, a)
			require.NoError(w, stop())
			path := filepath.Join(dir, kept)
			require.Contains(w, logs.String(), "kept_in="+path+"\n")
			require.FileExists(w, path)
			fill(dir, false)
		}
	})
}

// A crash before the end of such a command is journalled does not bring it back as one with good parameters.
func TestUnreadableJournalTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.send(key("deep", ""), commandOptions("deep"))
		dir := w.TempDir()
		left(w.T, dir, `{"id":"deep","received":{"cursor":"e.1.0","attempt":1,"id":"deep","type":"update_config","parameters":{"a":`+nested(9_999)+`},"created_at":"2000-01-01T00:00:00Z"}}`)
		j, tasks, _, err := journal.Open(dir, 1<<20, 10)
		require.NoError(w, err)
		require.Len(w, tasks, 1)
		require.NotEmpty(w, tasks[0].Unreadable)
		require.NoError(w, j.Close())
		j, tasks, _, err = journal.Open(dir, 1<<20, 10)
		require.NoError(w, err)
		require.Empty(w, tasks)
		require.NoError(w, j.Close())

		a := w.agent(agent.Options{Journal: dir})
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		w.settled(r, ack.Succeeded, "")
		require.NoError(w, stop())
	})
}

func commandOptions(id string) command.Options { return command.Options{ID: id} }
