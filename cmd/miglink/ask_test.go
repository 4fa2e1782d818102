package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// A request is repeated while it may yet succeed, and it is known afterwards what is not known.
func TestAsk(t *testing.T) {
	t.Parallel()
	lost := fmt.Errorf("cut: %w", admin.ErrUnanswered)
	away := fmt.Errorf("away: %w", admin.ErrUnreachable)
	proxys := &transport.ForeignError{Status: 404}
	later := &transport.Error{Code: transport.CodeRateLimited, RetryAfter: 4 * time.Second}
	for _, test := range []struct {
		name    string
		answers []error // the last for ever
		lost    bool
		err     error
		takes   time.Duration // at least; 0: none
	}{
		{"done", []error{nil}, false, nil, 0},
		{"never there", []error{away}, false, away, 0},
		{"lost, then done", []error{lost, nil}, false, nil, 50 * time.Millisecond},
		{"lost, then away, then done", []error{lost, away, away, nil}, false, nil, 150 * time.Millisecond},
		{"lost for ever", []error{lost}, true, lost, 20 * time.Second},
		{"lost, then away for ever", []error{lost, away}, true, away, 20 * time.Second},
		{"later", []error{later, nil}, false, nil, 4 * time.Second},
		{"later than the limit", []error{&transport.Error{Code: transport.CodeRateLimited, RetryAfter: time.Hour}}, false, transport.ErrRateLimited, 0},
		{"not now, then away, then done", []error{transport.ErrUnavailable, away, nil}, false, nil, 100 * time.Millisecond},
		{"a proxy's refusal", []error{proxys}, false, proxys, 0},
		{"not now, then a proxy's refusal, then done", []error{transport.ErrUnavailable, proxys, nil}, false, nil, 100 * time.Millisecond},
		{"refused", []error{transport.ErrForbidden}, false, transport.ErrForbidden, 0},
		{"lost, then refused: it was not done", []error{lost, transport.ErrQueueFull}, false, transport.ErrQueueFull, 50 * time.Millisecond},
		{"lost, then credentials that are over", []error{lost, transport.ErrCredentialsExpired}, true, transport.ErrCredentialsExpired, 50 * time.Millisecond},
		{"a gateway's word", []error{fmt.Errorf("%w: %w", transport.ErrUnavailable, admin.ErrUnanswered)}, true, transport.ErrUnavailable, 20 * time.Second},
		{"a mistake of ours", []error{io.ErrUnexpectedEOF}, false, io.ErrUnexpectedEOF, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n, began := 0, time.Now()
				lost, err := (&asker{limit: 30 * time.Second}).ask(t.Context(), func(context.Context) error {
					n++
					return test.answers[min(n, len(test.answers))-1]
				})
				require.ErrorIs(t, err, test.err)
				require.Equal(t, test.lost, lost)
				took := time.Since(began)
				require.GreaterOrEqual(t, took, test.takes)
				require.LessOrEqual(t, took, 30*time.Second)
				if test.takes == 0 {
					require.Zero(t, took)
				}
			})
		})
	}
}

// flaky is a controller's API in front of which answers get lost.
type flaky struct {
	*httptest.Server
	c    *controller.Controller
	does atomic.Pointer[disturbance]
	ids  sync.Map // of what was asked to be sent: how often
}

// disturbance is what happens to a request.
type disturbance struct {
	hold func(r *http.Request)      // is called before it is done
	lose func(r *http.Request) bool // says whether its answer is lost
}

func newFlaky(t *testing.T) *flaky {
	f := &flaky{c: controller.New(memory.New(), controller.Options{})}
	f.does.Store(&disturbance{})
	t.Cleanup(func() { f.c.Close() })
	h := http.StripPrefix("/admin/v1", admin.Handler(f.c, admin.Options{}))
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/commands") {
			body, err := io.ReadAll(r.Body)
			var s admin.Send
			if err != nil || json.Unmarshal(body, &s) != nil {
				panic(http.ErrAbortHandler)
			}
			n, _ := f.ids.LoadOrStore(s.ID, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			r.Body = io.NopCloser(strings.NewReader(string(body)))
		}
		d := f.does.Load()
		if d.hold != nil {
			d.hold(r)
		}
		if d.lose != nil && d.lose(r) {
			h.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

// asked is how often each ID was asked to be sent.
func (f *flaky) asked() map[string]int64 {
	all := map[string]int64{}
	f.ids.Range(func(id, n any) bool {
		all[id.(string)] = n.(*atomic.Int64).Load()
		return true
	})
	return all
}

// An answer that is lost is asked for again with the same ID, and what was asked for is done once.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	f := newFlaky(t)
	var sends, cancels atomic.Int64
	f.does.Store(&disturbance{lose: func(r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/cancel") {
			return cancels.Add(1) == 1
		}
		return r.Method == http.MethodPost && sends.Add(1) <= 2
	}})
	out := ok(t, "send", "vm-1", "drain", "--controller", f.URL)
	require.NotContains(t, out, "known already", "it was us")
	asked := f.asked()
	require.Len(t, asked, 1)
	list, err := f.c.List(t.Context(), "vm-1", 0, 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.EqualValues(t, 3, asked[list[0].Command.ID])
	require.Contains(t, ok(t, "cancel", list[0].Command.ID, "--controller", f.URL), "cancel asked for")
	require.EqualValues(t, 2, cancels.Load())

	var others atomic.Int64
	f.does.Store(&disturbance{lose: func(r *http.Request) bool { return r.Method == http.MethodPost && others.Add(1)%2 == 1 }})
	require.Contains(t, ok(t, "settle", list[0].Command.ID, "--stage", "canceled", "--controller", f.URL), ": canceled\n")
	require.Equal(t, "vm-1 is forgotten\n", ok(t, "forget", "vm-1", "--controller", f.URL))
	require.EqualValues(t, 4, others.Load())
}

// Where no answer comes it is said that it is not known, of what, and how to find out.
func TestNotKnown(t *testing.T) {
	t.Parallel()
	f := newFlaky(t)
	f.does.Store(&disturbance{lose: func(*http.Request) bool { return true }})
	o := miglink(t, "send", "vm-1", "drain", "--controller", f.URL, "--retry", "300ms")
	require.Equal(t, exitUnknown, o.status, o.errors)
	list, err := f.c.List(t.Context(), "vm-1", 0, 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
	id := list[0].Command.ID
	require.Contains(t, o.errors, "it is not known whether "+id+" is queued (no answer from the controller")
	require.Contains(t, o.errors, "miglink status "+id+" tells")
	require.Len(t, f.asked(), 1)

	o = miglink(t, "cancel", id, "--controller", f.URL, "--retry", "0s")
	require.Equal(t, exitUnknown, o.status, o.errors)
	require.Contains(t, o.errors, "it is not known whether the cancel of "+id+" is recorded")

	for _, args := range [][]string{{"settle", id}, {"forget", "vm-1"}} {
		o = miglink(t, append(args, "--controller", f.URL, "--retry", "0s")...)
		require.Equal(t, exitUnknown, o.status, o.errors)
		require.Contains(t, o.errors, "it is not known whether "+args[1]+" is ")
	}

	o = miglink(t, "fleet", "--controller", f.URL)
	require.Equal(t, exitUnreachable, o.status, "nothing was to be changed: %s", o.errors)
}

// Ctrl-C says what has become of the command, with its ID, at any time.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	f := newFlaky(t)
	held := make(chan struct{}, 1)
	f.does.Store(&disturbance{hold: func(r *http.Request) {
		held <- struct{}{}
		<-r.Context().Done()
	}})
	p := startQuiet(t, "send", "vm-1", "drain", "--id", "c-1", "--controller", f.URL)
	<-held
	require.Equal(t, exitInterrupted, p.interrupt())
	require.Contains(t, p.log.String(), "interrupted; it is not known whether c-1 is queued: miglink status c-1 tells")

	w := newFlaky(t)
	w.does.Store(&disturbance{hold: func(r *http.Request) {
		if r.Method == http.MethodGet {
			held <- struct{}{}
		}
	}})
	p = startQuiet(t, "send", "vm-1", "drain", "--id", "c-2", "--wait", "1h", "--controller", w.URL)
	<-held
	require.Equal(t, exitInterrupted, p.interrupt())
	require.Contains(t, p.log.String(), "interrupted; c-2 is queued, and goes on")
	require.Contains(t, p.out.String(), "c-2 drain to vm-1: queued")
}

// Who cannot be told that a command is queued, on a full disk for instance, learns its ID all the same: to send it again would
// run it twice.
func TestQueuedAndNotPrinted(t *testing.T) {
	t.Parallel()
	_, url := startController(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	needs.Machine(t, err, "no device of this system is full")
	defer full.Close()
	file := filepath.Join(t.TempDir(), "commands")
	require.NoError(t, os.WriteFile(file, []byte(`{"vm_id":"vm-1","type":"drain"}`), 0o600))
	for want, args := range map[string][]string{
		"c-1 is queued, but that could not be printed":                {"send", "vm-1", "drain", "--id", "c-1"},
		"c-2 is queued, but that could not be printed":                {"send", "vm-1", "drain", "--id", "c-2", "--output", "json"},
		"c-3 is queued, but that could not be printed":                {"send", "vm-1", "drain", "--id", "c-3", "--wait", "1ms"},
		"all 1 commands are queued, but that could not be printed":    {"send", "--file", file},
		"all 1 commands are queued, but that could not be printed: w": {"send", "--file", file, "--output", "json"},
	} {
		var errs bytes.Buffer
		cmd := program(t, append(args, "--controller", url)...)
		cmd.Stdout, cmd.Stderr = full, &errs
		require.Error(t, cmd.Run())
		require.Contains(t, errs.String(), want)
		require.NotZero(t, cmd.ProcessState.ExitCode())
	}
}

// A wait and a watch go on where the controller is started again meanwhile.
func TestReconnects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctl, url := startController(t, "--data", dir)
	to := func(args ...string) []string { return append(args, "--controller", url) }
	watch := startQuiet(t, to("watch")...)
	require.Eventually(t, func() bool { // a watch sees what happens after it has begun
		ok(t, to("send", "vm-2", "drain")...)
		return strings.Contains(watch.out.String(), "vm-2 drain")
	}, patience, 10*time.Millisecond)
	waiting := startQuiet(t, to("send", "vm-1", "drain", "--id", "c-1", "--wait", "2h")...)
	watch.out.await(t, "c-1: queued")
	ctl.kill()
	watch.log.await(t, "connecting again, what happens until then is not shown")
	start(t, "controller", "--listen", strings.TrimPrefix(url, "http://"), "--data", dir)
	require.Eventually(t, func() bool {
		ok(t, to("send", "vm-3", "drain")...)
		return strings.Contains(watch.out.String(), "vm-3 drain")
	}, patience, 10*time.Millisecond)
	start(t, to("agent", "--vm", "vm-1")...)
	watch.out.await(t, "c-1: succeeded")
	<-waiting.ended
	require.Zero(t, waiting.cmd.ProcessState.ExitCode(), waiting.log)
	require.Contains(t, waiting.out.String(), "c-1 drain to vm-1: succeeded")
	require.Zero(t, watch.interrupt())

	require.Empty(t, ok(t, to("watch", "vm-4", "--for", "50ms")...))
}

// A file that is broken off, by Ctrl-C or a controller that goes away, is gone on with, and each of its lines sent once.
func TestSendFileResumes(t *testing.T) {
	t.Parallel()
	const m = 600
	var text strings.Builder
	for i := range m {
		fmt.Fprintf(&text, `{"vm_id":"vm-%d","type":"update_config","parameters":{"config_key":"k","config_value":%d}}`+"\n", i%7, i/2) // pairs are the same
	}
	file := filepath.Join(t.TempDir(), "commands.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o600))

	f := newFlaky(t)
	var posts, more atomic.Int64
	full := make(chan struct{})
	f.does.Store(&disturbance{
		hold: func(r *http.Request) {
			n := posts.Add(1)
			if n == m/3 {
				close(full)
			}
			if n >= m/3 {
				<-r.Context().Done()
			}
		},
		lose: func(*http.Request) bool { return posts.Load()%50 == 0 },
	})
	p := startQuiet(t, "send", "--file", file, "--controller", f.URL)
	<-full
	require.Equal(t, exitInterrupted, p.interrupt())
	said := regexp.MustCompile(`interrupted; (\d+) of 600 commands are queued, of \d+ it is not known; go on with --resume (\S+), which sends nothing twice`).FindStringSubmatch(p.log.String())
	require.NotNil(t, said, p.log)
	n, err := strconv.Atoi(said[1])
	require.NoError(t, err)
	require.NotZero(t, n)
	require.Less(t, n, m/3)
	require.Contains(t, p.log.String(), "sending 600 commands; if it breaks off, go on with --resume "+said[2], "also where it is killed")

	// Again, and the controller goes away in the middle.
	f.does.Store(&disturbance{lose: func(*http.Request) bool { return more.Add(1) > m/2 }})
	o := miglink(t, "send", "--file", file, "--controller", f.URL, "--resume", said[2], "--retry", "200ms")
	require.Equal(t, exitUnknown, o.status, o.errors)
	require.Contains(t, o.errors, "of 600 commands are queued, of ")

	// And with a line more in front: those that were there keep their IDs.
	require.NoError(t, os.WriteFile(file, []byte(`{"vm_id":"vm-0","type":"drain"}`+"\n"+text.String()), 0o600))
	f.does.Store(&disturbance{})
	out := ok(t, "send", "--file", file, "--controller", f.URL, "--resume", said[2])
	require.Regexp(t, `^601 commands queued for 7 VMs, \d+ of them before\n$`, out)
	total := 0
	for vm := range 7 {
		list, err := f.c.List(t.Context(), fmt.Sprint("vm-", vm), 0, 1000)
		require.NoError(t, err)
		total += len(list)
	}
	require.Equal(t, m+1, total, "each once")
	require.Len(t, f.asked(), m+1)

	o = miglink(t, "send", "--file", file, "--resume", "x")
	require.Equal(t, exitUsage, o.status)
	require.Contains(t, o.errors, "is not the run of a --file")
	o = miglink(t, "send", "vm", "drain", "--resume", said[2])
	require.Equal(t, exitUsage, o.status)
}

// A line that is refused keeps back those of its VM, and no others.
func TestSendFileRefused(t *testing.T) {
	t.Parallel()
	f := newFlaky(t)
	_, err := f.c.Send(t.Context(), "vm-9", must(admin.Send{Type: "drain", ID: "taken"}.Command()))
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "commands.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(`{"vm_id":"vm-1","type":"drain","id":"taken"}
{"vm_id":"vm-1","type":"drain"}
{"vm_id":"vm-2","type":"drain"}
`), 0o600))
	o := miglink(t, "send", "--file", file, "--controller", f.URL)
	require.Equal(t, exitUsage, o.status, o.errors)
	require.Contains(t, o.errors, "line 1, for vm-1: miglink: key_reused")
	require.Contains(t, o.errors, "1 of 3 commands are queued; go on")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Each status has one meaning.
func TestExitStatus(t *testing.T) {
	t.Parallel()
	errNone := errors.New("none")
	for _, test := range []struct {
		err  error
		want int
	}{
		{failed("x"), exitFailed},
		{usage("x"), exitUsage},
		{fmt.Errorf("x: %w", admin.ErrUnreachable), exitUnreachable},
		{fmt.Errorf("x: %w", admin.ErrUnanswered), exitUnreachable},
		{&transport.ForeignError{Status: 403}, exitUnreachable},
		{transport.ErrProtocol, exitUnreachable},
		{transport.ErrInvalid, exitUsage},
		{transport.ErrTooLarge, exitUsage},
		{transport.ErrKeyReused, exitUsage},
		{transport.ErrUnauthorized, exitCredentials},
		{transport.ErrCredentialsExpired, exitCredentials},
		{transport.ErrRevoked, exitCredentials},
		{transport.ErrForbidden, exitForbidden},
		{transport.ErrUnavailable, exitNotNow},
		{transport.ErrQueueFull, exitNotNow},
		{transport.ErrRateLimited, exitNotNow},
		{transport.ErrInternal, exitNotNow},
		{transport.ErrUnknownCommand, exitNotFound},
		{transport.ErrSuperseded, exitSuperseded},
		{&os.PathError{Op: "open", Path: "x", Err: errNone}, exitStorage},
		{stored(&os.PathError{Op: "mkdir", Path: "x", Err: os.ErrPermission}), exitUsage},
		{stored(errNone), exitStorage},
		{errNone, exitInternal},
	} {
		require.Equal(t, test.want, exitStatus(test.err), "%v", test.err)
	}
}
