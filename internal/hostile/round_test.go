package hostile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/document"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// round is the way of documents from one end to the other and back: an operator's request, the controller and its ledger on
// a disk, a network, an agent with a journal, and what the operator is told. Every part of it is started again on the way.
type round struct {
	addr string // of HTTP
	mux  atomic.Pointer[http.ServeMux]
}

// newRound serves whichever controller is there, until the end of the test.
func newRound(t testing.TB) *round {
	existing := goleak.IgnoreCurrent()
	closing := goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait")
	t.Cleanup(func() { goleak.VerifyNone(t, existing, closing) })
	r := &round{}
	r.addr = serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.mux.Load().ServeHTTP(w, req) }))
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return r
}

// trip is one command on its way, and what is to come back.
type trip struct {
	parameters string // of the command
	result     string // that its handler returns, unless it fails
	progress   string // that it reports before
	reason     string // of its progress, and of its failure
	fails      bool
}

// ends are what is there for some trips, from one start to the next.
type ends struct {
	t        require.TestingT
	r        *round
	dir      string // of the ledger
	journal  string
	overGRPC bool

	ledger     *bolt.Ledger
	controller *controller.Controller
	logs       buffer

	mu     sync.Mutex
	events []event.Event
	runs   map[string]int
	got    map[string]string // parameters, as handlers got them
}

func (e *ends) start() {
	l, err := bolt.Open(e.dir, bolt.Options{Log: slog.New(slog.NewTextHandler(&e.logs, nil))})
	require.NoError(e.t, err, "the ledger does not open again")
	e.ledger = l
	e.controller = controller.New(l, controller.Options{OnEvent: func(_ context.Context, _ string, v event.Event) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.events = append(e.events, v)
		return nil
	}})
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(e.controller, web.Options{})))
	mux.Handle(grpc.Handler(e.controller, grpc.HandlerOptions{}))
	mux.Handle("/admin/", http.StripPrefix("/admin", admin.Handler(e.controller, admin.Options{})))
	e.r.mux.Store(mux)
}

func (e *ends) stop() {
	e.controller.Close()
	require.NoError(e.t, e.ledger.Close())
}

func (e *ends) again() {
	e.stop()
	e.start()
}

// dial is a Transport over a real socket.
func (e *ends) dial() transport.Transport {
	var tr transport.Transport
	var err error
	if e.overGRPC {
		tr, err = grpc.New("http://"+e.r.addr, grpc.Options{})
	} else {
		tr, err = ws.New("http://"+e.r.addr, ws.Options{})
	}
	require.NoError(e.t, err)
	return tr
}

// mute lets no ack of an end pass.
type mute struct{ transport.Transport }

func (m mute) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	l, err := m.Transport.Dial(ctx, h)
	if err != nil {
		return nil, err
	}
	return mutedLink{l}, nil
}

type mutedLink struct{ transport.Link }

func (l mutedLink) Ack(ctx context.Context, acks ...ack.Ack) error {
	errs := make(transport.AckErrors, len(acks))
	for i, a := range acks {
		if a.Stage.Final() {
			errs[i] = transport.Errorf(transport.CodeRateLimited, "not now")
		} else if err := l.Link.Ack(ctx, a); err != nil && !transport.Refused(err) {
			return err
		} else {
			errs[i] = transport.AckError(err, 0)
		}
	}
	return errs.Of()
}

// agent runs an agent whose handler is do, until it is stopped.
func (e *ends) agent(tr transport.Transport, o agent.Options, do func(ctx context.Context, job *agent.Job) (any, error)) (a *agent.Agent, stop func()) {
	o.VM, o.Journal = "vm-1", e.journal
	o.BackoffInitial, o.BackoffMax = time.Millisecond, 5*time.Millisecond
	a, err := agent.New(tr, o)
	require.NoError(e.t, err)
	a.HandleRaw("own", func(ctx context.Context, job *agent.Job) (any, error) {
		e.mu.Lock()
		e.runs[job.Command().ID]++
		e.got[job.Command().ID] = string([]byte(job.Command().Parameters))
		e.mu.Unlock()
		return do(ctx, job)
	}, agent.Policy{AfterCrash: agent.RunAgain})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	return a, func() {
		cancel()
		require.NoError(e.t, <-ended)
	}
}

// post asks as curl would, and returns the code of a refusal.
func (e *ends) post(id, parameters string) (code string) {
	body := fmt.Sprintf(`{"vm_id":"vm-1","type":"own","id":%q,"parameters":%s}`, id, parameters)
	resp, err := http.Post("http://"+e.r.addr+"/admin/commands", "application/json", strings.NewReader(body))
	require.NoError(e.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(e.t, err)
	var answer struct {
		Code string `json:"code"`
		ID   string `json:"id"`
	}
	require.NoError(e.t, json.Unmarshal(b, &answer), "%q", b)
	if resp.StatusCode == http.StatusCreated {
		require.Equal(e.t, id, answer.ID)
		return ""
	}
	return answer.Code
}

// send sends a command the way that its parameters can go, and returns whether it was accepted.
func (e *ends) send(id, parameters string) bool {
	code := ""
	if json.Valid([]byte(parameters)) { // else it would be the request that is no JSON
		code = e.post(id, parameters)
	} else {
		_, err := e.controller.Send(context.Background(), "vm-1", command.Command{ID: id, Type: "own", Parameters: command.Parameters(parameters), CreatedAt: time.Now()})
		if err != nil {
			code = string(transport.AsError(err).Code)
		}
	}
	if code != "" {
		require.Contains(e.t, []string{"invalid", "too_large"}, code)
		_, err := e.controller.Get(context.Background(), id)
		require.ErrorIs(e.t, err, transport.ErrUnknownCommand)
	}
	return code == ""
}

// told is what an operator is told of a command.
type told struct {
	Stage  ack.Stage       `json:"stage"`
	Reason string          `json:"reason"`
	Result json.RawMessage `json:"result"`
}

// status asks the admin API, and reads its answer as anybody would.
func (e *ends) status(id string) (s told) {
	resp, err := http.Get("http://" + e.r.addr + "/admin/commands/" + id)
	require.NoError(e.t, err)
	defer resp.Body.Close()
	require.Equal(e.t, http.StatusOK, resp.StatusCode)
	require.NoError(e.t, json.NewDecoder(resp.Body).Decode(&s))
	return s
}

// acceptable says, by other means than the code that decides on it, whether a document is one that everybody can read.
func acceptable(doc string, most int, object bool) bool {
	b := []byte(doc)
	if len(b) > most || !utf8.Valid(b) || !json.Valid(b) {
		return false
	}
	if object && bytes.TrimSpace(b)[0] != '{' {
		return false
	}
	depth := 0
	for d := jsontext.NewDecoder(bytes.NewReader(b), jsontext.AllowDuplicateNames(true)); ; {
		token, err := d.ReadToken() // which refuses half a surrogate pair
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			return false
		}
		depth = max(depth, d.StackDepth())
		if depth > 64 || token.Kind() == '"' && strings.Contains(token.String(), "\x00") {
			return false
		}
		if token.Kind() == '0' {
			if _, err := strconv.ParseFloat(token.String(), 64); err != nil {
				return false
			}
		}
	}
}

// same requires that two documents are the same, but for white space.
func same(t require.TestingT, want, got string) {
	compact := func(s string) string {
		var b bytes.Buffer
		require.NoError(t, json.Compact(&b, []byte(s)), "%q", s)
		return b.String()
	}
	require.Equal(t, compact(want), compact(got))
}

// check sends trips all the way, and requires that what was accepted comes back as it went, and that what was not has
// disturbed nothing.
func (r *round) check(t require.TestingT, overGRPC bool, trips []trip) {
	temp, err := os.MkdirTemp("", "miglink-round-")
	require.NoError(t, err)
	defer os.RemoveAll(temp)
	e := &ends{t: t, r: r, dir: temp + "/ledger", journal: temp + "/journal", overGRPC: overGRPC, runs: map[string]int{}, got: map[string]string{}}
	e.start()
	defer e.stop()
	byID := map[string]trip{}
	for i, trip := range append(trips, trip{parameters: "{}", result: "true", progress: "1"}) { // the last means well
		id := fmt.Sprint("c-", i)
		parameters := trip.parameters
		if strings.TrimSpace(parameters) == "null" { // as if it were left out
			parameters = "{}"
		}
		// An operator is asked which of two fields of one name is meant; an agent is not.
		want := acceptable(parameters, command.MaxParameters, true) && jsontext.Value(parameters).IsValid()
		require.Equal(t, want, e.send(id, trip.parameters), "%.100q", trip.parameters)
		if want {
			trip.parameters = parameters
			byID[id] = trip
		}
	}
	e.again()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()

	// The first agent takes them all over, begins one, and is stopped.
	_, stop := e.agent(e.dial(), agent.Options{}, func(ctx context.Context, _ *agent.Job) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	for id := range byID {
		_, err := e.controller.Receipt(id).WaitFor(ctx, func(entry ledger.Entry) bool {
			return entry.State.Stage == ack.Received || entry.State.Stage == ack.Started
		})
		require.NoError(t, err)
	}
	stop()
	e.again()

	// The second runs them, and cannot say what has come of them.
	finished := newLines("command finished")
	_, stop = e.agent(mute{e.dial()}, agent.Options{StopGrace: time.Millisecond, Log: slog.New(finished)}, func(_ context.Context, job *agent.Job) (any, error) {
		trip := byID[job.Command().ID]
		failed := job.Progress(trip.reason, json.RawMessage(trip.progress))
		if good := acceptable(trip.progress, ack.MaxResult, false); good != (failed == nil) {
			return nil, fmt.Errorf("a progress that is good (%t) is taken with %w", good, failed)
		}
		if trip.fails {
			return nil, errors.New(trip.reason)
		}
		return json.RawMessage(trip.result), nil
	})
	for range byID {
		select {
		case <-finished.seen:
		case <-ctx.Done():
			require.FailNow(t, "a command did not run")
		}
	}
	stop()
	e.again()

	// The third answers for them, and reports.
	third, stop := e.agent(e.dial(), agent.Options{}, func(context.Context, *agent.Job) (any, error) { return nil, errors.New("it ran again") })
	for id := range byID {
		_, err := e.controller.Receipt(id).Wait(ctx)
		require.NoError(t, err)
	}
	e.reportAll(ctx, third, trips)
	stop()
	e.again()

	for id, trip := range byID {
		s := e.status(id)
		switch {
		case trip.fails:
			require.Equal(t, ack.Failed, s.Stage, s.Reason)
			require.Equal(t, document.Mend(trip.reason, ack.MaxText), s.Reason)
		case acceptable(trip.result, ack.MaxResult, false) && strings.TrimSpace(trip.result) == "null":
			require.Equal(t, ack.Succeeded, s.Stage, s.Reason)
			require.Contains(t, []string{"", "null"}, string(s.Result))
		case acceptable(trip.result, ack.MaxResult, false):
			require.Equal(t, ack.Succeeded, s.Stage, s.Reason)
			same(t, trip.result, string(s.Result))
		default: // it did succeed
			require.Equal(t, ack.Succeeded, s.Stage, s.Reason)
			require.Contains(t, s.Reason, "result")
		}
		same(t, trip.parameters, e.got[id])
		entry, err := e.ledger.Get(ctx, id)
		require.NoError(t, err)
		same(t, trip.parameters, string([]byte(entry.Command.Parameters)))
		require.LessOrEqual(t, e.runs[id], 2, "one agent was stopped while it ran")
	}
	require.Empty(t, e.logs.String(), "the ledger has something to say")
	require.NoFileExists(t, e.journal+"/journal.unreadable")
}

// reportAll reports an event with the result of each trip as its metadata: it is taken as it is, or refused.
func (e *ends) reportAll(ctx context.Context, a *agent.Agent, trips []trip) {
	for _, trip := range trips {
		v := event.Event{Type: "x", Timestamp: time.Now(), Metadata: json.RawMessage(trip.result), PoolID: trip.reason}
		good := acceptable(trip.result, event.MaxSize, true) || strings.TrimSpace(trip.result) == "null" || trip.result == ""
		good = good && utf8.ValidString(trip.reason) && !strings.Contains(trip.reason, "\x00") && len(trip.reason) <= event.MaxText
		err := a.Report(ctx, v)
		e.mu.Lock()
		got := e.events
		e.events = nil
		e.mu.Unlock()
		if !good {
			require.ErrorIs(e.t, err, transport.ErrInvalid, "%.100q %.100q", trip.result, trip.reason)
			require.Empty(e.t, got)
			continue
		}
		require.NoError(e.t, err)
		require.NotEmpty(e.t, got) // a link that ends meanwhile may have it taken twice
		require.Equal(e.t, trip.reason, got[0].PoolID)
		if m := strings.TrimSpace(trip.result); m != "null" && m != "" {
			same(e.t, trip.result, string(got[0].Metadata))
		}
	}
}

// lines tells of lines of a log with a message.
type lines struct {
	slog.Handler
	message string
	seen    chan struct{}
}

func newLines(message string) *lines {
	return &lines{slog.DiscardHandler, message, make(chan struct{}, 1000)}
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	if r.Message == l.message {
		l.seen <- struct{}{}
	}
	return nil
}

func (l *lines) WithAttrs([]slog.Attr) slog.Handler { return l }

// pieces of documents, of which most make no document, and some one that only some can read.
var pieces = []string{
	"{", "}", "[", "]", ":", ",", `"a"`, `"a":`, `"k":1`, "1", "-0.5e+7", "1e400", "12345678901234567890123", "true", "null", " ", "\n", "\r", "\t",
	`"\u0000"`, `"\u0001"`, `"\ud83d\ude00"`, `"\ud800"`, `"\udfff\ud800"`, `"\\u0000"`, `"é😀\u2028"`, "\"\xff\"", "\"\xed\xa0\x80\"", "\"\x00\"", "\x00", "\ufeff", `"<&>"`, `"\u003c\/"`,
}

func drawDocument(t *rapid.T, name string) string {
	value := rapid.SampledFrom([]string{"1", "null", "{}", "[]", `"a"`, `{"a":[1,{"b":null}]}`, "{ \"a\" :\r\n [ 1 , 2 ] }", `"\ud800"`, `"\u0000"`, "\"\xff\"", `{"a":1,"a":2}`, `"é😀\u2028"`, "1e400", `{"\u0000":1}`, `""`}).Draw(t, name)
	switch rapid.IntRange(0, 5).Draw(t, name+" kind") {
	case 0:
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 12).Draw(t, name+" pieces"), "")
	case 1:
		depth := rapid.SampledFrom([]int{62, 63, 64, 65, 100, 4000, 9_990, 9_999, 10_000, 20_000}).Draw(t, name+" depth")
		return strings.Repeat(`{"a":`, depth) + value + strings.Repeat("}", depth)
	case 2:
		depth := rapid.SampledFrom([]int{1, 62, 63, 64, 65, 9_999, 30_000}).Draw(t, name+" depth")
		return `{"a":` + strings.Repeat("[", depth) + value + strings.Repeat("]", depth) + "}"
	case 3:
		size := rapid.SampledFrom([]int{ack.MaxResult, command.MaxParameters}).Draw(t, name+" size") - len(`{"a":""}`) + rapid.IntRange(-1, 1).Draw(t, name+" more")
		return `{"a":"` + strings.Repeat("x", size) + `"}`
	default:
		return `{"a":` + value + "}"
	}
}

func drawReason(t *rapid.T) string {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"", "busy", "a\x00b", "\xff", "\x1b[31m\r\n", "é😀\u2028", strings.Repeat("é", ack.MaxText), strings.Repeat("x", event.MaxText+1)}), rapid.String(),
	).Draw(t, "reason")
}

// openOwn says that the parameters of the test's type are no secrets, so that they are there once it is settled.
func openOwn(t testing.TB) {
	require.NoError(t, command.DeclareOpen("own", "*"))
}

// Whatever is accepted anywhere comes back as it went, also where every part of the way is started again; what is not is
// refused at once.
func TestTheWholeRound(t *testing.T) {
	openOwn(t)
	r := newRound(t)
	lives, most := 0, 25 // each takes four starts of a ledger and three of an agent
	rapid.Check(t, func(t *rapid.T) {
		if lives++; lives > most {
			return
		}
		failed := true
		defer func() {
			if failed { // from now on the smallest that fails is looked for
				most = math.MaxInt
			}
		}()
		var trips []trip
		for range rapid.IntRange(1, 8).Draw(t, "trips") {
			trips = append(trips, trip{
				parameters: drawDocument(t, "parameters"), result: drawDocument(t, "result"), progress: drawDocument(t, "progress"),
				reason: drawReason(t), fails: rapid.Bool().Draw(t, "fails"),
			})
		}
		r.check(t, rapid.Bool().Draw(t, "over gRPC"), trips)
		failed = false
	})
}

// FuzzTheWholeRound is the same for one command.
func FuzzTheWholeRound(f *testing.F) {
	openOwn(f)
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}" }
	f.Add("{}", "1", "", false, false)
	f.Add(deep(63), deep(63), "busy", true, false)
	f.Add(deep(64), deep(9_997), "a\x00b\xff", true, true)
	f.Add(deep(9_998), deep(10_000), strings.Repeat("x", 5000), false, true)
	f.Add(`{"a":"\u0000"}`, `"\u0000"`, "\u2028", true, false)
	f.Add(`{"a":"\ud800"}`, `"\udc00"`, "é", false, false)
	f.Add("{\"a\":\"\xff\"}", "\"\xff\"", "\xff", true, true)
	f.Add("{\n\"a\" : 1\r\n}", "[ 1 ,\n2 ]", "\r\n", false, false)
	f.Add("null", "null", "", true, false)
	f.Add(`{"a":1e400}`, "12345678901234567890123", "", true, false)
	f.Add(`{"a":{}},"urgent":true`, "{", "", false, false)
	r := newRound(f)
	f.Fuzz(func(t *testing.T, parameters, result, reason string, overGRPC, fails bool) {
		r.check(t, overGRPC, []trip{{parameters: parameters, result: result, progress: result, reason: reason, fails: fails}})
	})
}
