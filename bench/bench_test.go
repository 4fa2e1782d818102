package bench_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/bench"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/web"
)

// asChild has this binary be another process of a run.
const asChild = "-bench-child"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == asChild {
		if err := bench.RunChild(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Everything is measured, if not well: it takes no time.
func TestRun(t *testing.T) {
	t.Parallel()
	steps := 0
	o := bench.Options{
		Program:  []string{os.Args[0], asChild},
		Measures: slices.DeleteFunc(bench.Measures(), func(m string) bool { return m == "reconnect" }),
		Rounds:   3, Turn: time.Millisecond, VMs: 3, Window: 4, Fleet: 10, Calm: time.Second, Audience: 20, Known: []int{2, 4}, Past: 50,
		Each: func() { steps++ },
	}
	require.NoError(t, o.Check())
	r, err := bench.Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, o.Steps(), steps)
	var tables, page, lines strings.Builder
	r.WriteTables(&tables)
	require.Regexp(t, `ws +│ memory +│ .*s +│ .*s +│ .*s +│ .*s +│ +[0-9.]+ │`, tables.String())
	require.NoError(t, r.WritePage(&page))
	require.Equal(t, len(o.Measures), strings.Count(page.String(), "<svg"))
	require.NotContains(t, page.String(), "NaN")
	require.NotContains(t, page.String(), "ZgotmplZ")
	r.WriteBenchmarks(&lines)
	require.Regexp(t, `(?m)^BenchmarkRoundTrip/ws/bare-\d+\t\d+\t[0-9.e+]+ p50-ns\t`, lines.String())
	const transports, ledgers = 5, 2
	require.Len(t, r.RoundTrip, 1+transports*(1+ledgers))
	require.Equal(t, "tcp, bare", r.RoundTrip[0].Name())
	require.Len(t, r.Throughput, transports*ledgers+4)
	require.Len(t, r.Storm, transports*ledgers+3)
	require.Len(t, r.Idle, transports)
	for _, m := range r.RoundTrip {
		require.Positive(t, m.P50, m.Name())
		require.LessOrEqual(t, m.P50, m.P999, m.Name())
		require.Equal(t, m.Ledger != "", m.ToBare > 0, m.Name())
	}
	require.Len(t, r.Load, transports*ledgers+4)
	for _, m := range r.Load {
		require.Positive(t, m.Count, m.Name())
		require.Positive(t, m.P50, m.Name())
	}
	for _, m := range r.Throughput {
		require.Positive(t, m.PerSecond, m.Name())
	}
	for _, m := range r.Storm {
		require.Positive(t, m.Took, m.Name())
	}
	for _, m := range r.RoundTrip {
		require.Equal(t, m.Ledger != "", m.P99ToBare > 0, m.Name())
		require.Equal(t, m.Ledger == "bolt", m.ToFloor > 0, m.Name())
	}
	require.Positive(t, r.Commit.P50)
	require.Len(t, r.Durable, transports+4)
	for _, m := range r.Durable {
		require.Positive(t, m.PerSecond, m.Name())
		require.NotEqual(t, "memory", m.Ledger)
	}
	require.Len(t, r.Broadcast, transports)
	for _, m := range r.Broadcast {
		require.Positive(t, m.Took, m.Name())
		require.Equal(t, 2, m.Linked)
	}
	require.Len(t, r.Growth, ledgers*(2+1))
	for i, m := range r.Growth {
		require.Positive(t, m.P50, m.Name())
		require.Equal(t, i%3 > 0, m.ToLeast > 0, m.Name()) // the first is the least
	}
}

// A controller that is killed under load loses nothing, and nothing runs twice. Not over NATS: its broker tells
// nobody that the controller has gone, and the test would take as long as silence is borne.
func TestReconnect(t *testing.T) {
	t.Parallel()
	o := bench.Options{
		Program: []string{os.Args[0], asChild}, Measures: []string{"reconnect"}, Transports: []string{"ws", "sse", "longpoll", "grpc"},
		Turn: 20 * time.Millisecond, Fleet: 10, Rate: 200,
	}
	r, err := bench.Run(t.Context(), o)
	require.NoError(t, err)
	require.Len(t, r.Reconnect, 4)
	for _, m := range r.Reconnect {
		require.Zero(t, m.Missing, m.Name())
		require.Zero(t, m.Lost, m.Name())
		require.Zero(t, m.Twice, m.Name())
		require.Positive(t, m.Accepted, m.Name())
		require.Positive(t, m.Settled, m.Name())
		require.LessOrEqual(t, m.P50, m.Last, m.Name())
		require.Equal(t, m.Last, m.Back[100], m.Name())
	}
	var tables, page, lines strings.Builder
	r.WriteTables(&tables)
	require.Contains(t, tables.String(), "all is settled")
	require.NoError(t, r.WritePage(&page))
	require.Equal(t, 4, strings.Count(page.String(), "<polyline"))
	require.NotContains(t, page.String(), "NaN")
	r.WriteBenchmarks(&lines)
	require.Regexp(t, `(?m)^BenchmarkReconnect/grpc/bolt-\d+\t10\t.*\t0 lost\t0 twice$`, lines.String())
}

// A slow network is slow for all.
func TestDelay(t *testing.T) {
	t.Parallel()
	const delay = 5 * time.Millisecond
	r, err := bench.Run(t.Context(), bench.Options{
		Program: []string{os.Args[0], asChild}, Measures: []string{"roundtrip"}, Ledgers: []string{"memory"},
		Rounds: 1, Turn: time.Millisecond, Delay: delay,
	})
	require.NoError(t, err)
	require.Len(t, r.RoundTrip, 1+5*2)
	for _, m := range r.RoundTrip {
		require.GreaterOrEqual(t, m.P50, 2*delay, m.Name())
	}
}

// On one CPU is on the same one for both processes, and only for as long as the run.
func TestOneCPU(t *testing.T) { // not parallel: it is all of this process
	needs.Linux(t, "only Linux can")
	allowed := func(pid string) string {
		status, err := os.ReadFile("/proc/" + pid + "/status")
		require.NoError(t, err)
		return regexp.MustCompile(`Cpus_allowed_list:\s+(\S+)`).FindStringSubmatch(string(status))[1]
	}
	before, threads := allowed("self"), runtime.GOMAXPROCS(0)
	during := map[string]bool{}
	r, err := bench.Run(t.Context(), bench.Options{
		Program: []string{os.Args[0], asChild}, Measures: []string{"roundtrip"}, Transports: []string{"ws"}, Ledgers: []string{"memory"},
		Rounds: 1, Turn: time.Millisecond, OneCPU: true,
		Each: func() {
			during[allowed("self")] = true
			for _, child := range children(t) {
				during[allowed(child)] = true
			}
		},
	})
	require.NoError(t, err)
	require.Len(t, during, 1)
	for cpus := range during {
		require.Regexp(t, `^\d+$`, cpus)
	}
	require.Equal(t, before, allowed("self"))
	require.Equal(t, threads, runtime.GOMAXPROCS(0))
	require.Equal(t, 1, r.CPUs)
	var tables strings.Builder
	r.WriteTables(&tables)
	require.Contains(t, tables.String(), "one CPU")
}

// children are the processes that this one has started.
func children(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	require.NoError(t, err)
	var ids []string
	for _, f := range files {
		list, err := os.ReadFile(f)
		if err != nil { // the thread has ended
			continue
		}
		ids = append(ids, strings.Fields(string(list))...)
	}
	require.NotEmpty(t, ids)
	return ids
}

// A network that loses packets loses no command: what was lost comes later.
func TestLoss(t *testing.T) {
	t.Parallel()
	o := bench.Options{
		Program: []string{os.Args[0], asChild}, Measures: []string{"roundtrip"}, Transports: []string{"tcp", "ws"}, Ledgers: []string{"memory"},
		Rounds: 1, Turn: time.Millisecond, Loss: 0.01, Seed: 1,
	}
	r, err := bench.Run(t.Context(), o)
	require.NoError(t, err)
	require.Len(t, r.RoundTrip, 3)
	var tables strings.Builder
	r.WriteTables(&tables)
	require.Contains(t, tables.String(), "loses 1 of 100 packets, each way; seed 1.")
	o.Loss, o.Seed = 0, 0
	require.NoError(t, o.Check())
	require.NotZero(t, o.Seed)
}

// A controller elsewhere is measured by what it serves; its token is asked for on every way.
func TestRemote(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
	mux.Handle(grpc.Handler(c, grpc.HandlerOptions{}))
	mux.Handle("/admin/v1/", http.StripPrefix("/admin/v1", admin.Handler(c, admin.Options{})))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer open-sesame" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	defer c.Close() // links first
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("open-sesame\n"), 0o600))
	steps := 0
	o := bench.Options{
		Program: []string{os.Args[0], asChild}, Controller: server.URL, TokenFile: token,
		Rounds: 1, Turn: time.Millisecond, VMs: 3, Window: 1000, Fleet: 10, Each: func() { steps++ },
	}
	require.NoError(t, o.Check())
	r, err := bench.Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, o.Steps(), steps)
	require.Len(t, r.RoundTrip, 4)
	require.Len(t, r.Load, 4)
	require.Len(t, r.Storm, 4)
	require.Len(t, r.Throughput, 4)
	for _, m := range r.Throughput {
		require.Equal(t, m.Transport+", remote", m.Name())
		require.Positive(t, m.PerSecond)
		require.Zero(t, m.CPUSeconds)
		require.Equal(t, 256/3, m.Window)
	}
	fleet, err := c.Fleet(t.Context())
	require.NoError(t, err)
	require.Len(t, fleet, 4*(1+3+3+10)) // of each transport and measure, none of which shares a name
	var tables strings.Builder
	r.WriteTables(&tables)
	require.Contains(t, tables.String(), "Of the controller at "+server.URL)
	o.TokenFile = ""
	_, err = bench.Run(t.Context(), o)
	var foreign *transport.ForeignError // it is not the controller that asks for the token
	require.ErrorAs(t, err, &foreign)
	require.Equal(t, http.StatusUnauthorized, foreign.Status)
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	program := []string{os.Args[0], asChild}
	for says, o := range map[string]bench.Options{
		"no program":      {},
		"no transport":    {Program: program, Transports: []string{"pigeon"}},
		"no measure":      {Program: program, Measures: []string{"colour"}},
		"no ledger":       {Program: program, Ledgers: []string{"paper"}},
		"URL of a server": {Program: program, Transports: []string{"redis"}},
		"at least 1":      {Program: program, VMs: -1},
		"fewest first":    {Program: program, Known: []int{3, 2}},
		"at most 1024":    {Program: program, Window: 2000},
		"not negative":    {Program: program, Delay: -1},
		"URL of the":      {Program: program, Controller: "nowhere"},
		"not \"idle\"":    {Program: program, Controller: "http://127.0.0.1:1", Measures: []string{"idle"}},
		"not \"bolt\"":    {Program: program, Controller: "http://127.0.0.1:1", Ledgers: []string{"bolt"}},
		"not \"nats\"":    {Program: program, Controller: "http://127.0.0.1:1", Transports: []string{"nats"}},
		"that there is":   {Program: program, Controller: "http://127.0.0.1:1", Loss: 0.1},
		"up to 1":         {Program: program, Loss: 1},
		"takes some time": {Program: program, Turn: -1},
	} {
		_, err := bench.Run(t.Context(), o)
		require.ErrorContains(t, err, says)
	}
}
