package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/web"
)

const kills = 10

// seeded returns the source of a test's moments, and prints its seed.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// runs is which commands ran at a VM, in order, by the test's own account.
type runs struct {
	mu  sync.Mutex
	ids []string
}

func (r *runs) add(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids = append(r.ids, id)
}

// The controller is killed in the middle of 10,000 sends: what it has acknowledged is neither lost nor
// run twice, and each VM's order holds.
func TestKillController(t *testing.T) {
	t.Parallel()
	const vms, sends = 8, 10_000
	rng := seeded(t)
	data := t.TempDir()
	ctl, url := startController(t, "--data", data)
	address := strings.TrimPrefix(url, "http://")

	ran := make([]*runs, vms)
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	for i := range vms {
		ran[i] = &runs{}
		names := []string{"ws", "sse", "longpoll", "grpc"}
		link, err := registry.Open(names[i%len(names)], transport.Config{URL: url})
		require.NoError(t, err)
		a, err := agent.New(link, agent.Options{
			VM: vmName(i), Remember: sends, BackoffInitial: time.Millisecond, BackoffMax: 100 * time.Millisecond,
		})
		require.NoError(t, err)
		agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Drain) (any, error) {
			ran[i].add(job.Command().ID)
			return nil, nil
		}, agent.Policy{})
		working.Go(func() { _ = a.Run(ctx) })
	}

	client, err := admin.NewClient(url+"/admin/v1", transport.Config{})
	require.NoError(t, err)
	sent := make([][]string, vms)
	var sending sync.WaitGroup
	progress := make(chan struct{}, sends)
	for i := range vms {
		sending.Go(func() {
			for n := range sends / vms {
				id := fmt.Sprintf("%s-%05d", vmName(i), n)
				sendUntilAcknowledged(t, client, admin.Send{ID: id, VM: vmName(i), Type: command.TypeDrain})
				sent[i] = append(sent[i], id)
				progress <- struct{}{}
			}
		})
	}
	for k := range kills {
		for range sends/(kills+1) - rng.IntN(sends/(kills*4)) {
			<-progress
		}
		ctl.kill()
		ctl = start(t, "controller", "--listen", address, "--data", data)
		t.Logf("kill %d of the controller", k+1)
	}
	sending.Wait()
	for i := range vms {
		for _, id := range sent[i] {
			require.Equal(t, ack.Succeeded, settled(t, client, id).Stage, id)
		}
		require.Equal(t, sent[i], ran[i].ids, "each once, in the order they were sent")
	}
}

func vmName(i int) string { return fmt.Sprintf("vm-%d", i) }

// sendUntilAcknowledged repeats an ambiguous send; its ID makes it one command.
func sendUntilAcknowledged(t *testing.T, client *admin.Client, s admin.Send) {
	t.Helper()
	for limit := time.Now().Add(patience); ; {
		_, err := client.Send(t.Context(), s)
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			t.Errorf("%s is not acknowledged: %v", s.ID, err)
			return
		}
		sleep(t.Context(), 5*time.Millisecond)
	}
}

// settled waits for the outcome.
func settled(t *testing.T, client *admin.Client, id string) admin.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := client.Wait(ctx, id)
	require.NoError(t, err, id)
	return s
}

// The agent is killed in the middle of 1,000 handlers: none is lost, none runs twice, and what was
// going on at a kill says so.
func TestKillAgent(t *testing.T) {
	t.Parallel()
	const sends = 1000
	rng := seeded(t)
	l, err := bolt.Open(t.TempDir(), bolt.Options{})
	require.NoError(t, err)
	defer l.Close()
	ctl := controller.New(l, controller.Options{MaxAttempts: 2 * kills})
	defer ctl.Close()
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewUnstartedServer(nil)
	server.Config = web.NewServer(ctx, http.StripPrefix("/api/v1", web.Handler(ctl, web.Options{})), web.ServerOptions{})
	server.Start()
	defer server.Close()
	defer cancel()

	dir := t.TempDir()
	record := filepath.Join(dir, "record")
	begin := func() *process {
		return start(t, "agent", "--vm", "vm", "--controller", server.URL, "--journal", filepath.Join(dir, "journal"),
			"--record", record, "--exec", "drain="+script(t, "sleep 0.005"))
	}
	p := begin()
	receipts := make([]*controller.Receipt, sends)
	for i := range sends {
		cmd, err := command.New(command.Drain{}, command.Options{ID: fmt.Sprintf("c%04d", i)})
		require.NoError(t, err)
		receipts[i], err = ctl.Send(t.Context(), "vm", cmd)
		require.NoError(t, err)
	}
	done := 0
	for k := range kills {
		for range sends/(kills+1) - rng.IntN(sends/(kills*4)) {
			outcomeOf(t, receipts[done])
			done++
		}
		p.kill()
		t.Logf("kill %d of the agent, after %d commands", k+1, done)
		p = begin()
	}
	count := map[ack.Stage]int{}
	var want []string
	for _, r := range receipts {
		e := outcomeOf(t, r)
		count[e.State.Stage]++
		want = append(want, e.Command.ID)
	}
	t.Logf("outcomes: %v", count)
	require.Equal(t, sends, count[ack.Succeeded]+count[ack.Interrupted])
	require.LessOrEqual(t, count[ack.Interrupted], kills, "one handler at a time can be interrupted")

	b, err := os.ReadFile(record)
	require.NoError(t, err)
	var ran []string
	for line := range lines(b) {
		id, _, _ := strings.Cut(line, " ")
		ran = append(ran, id)
	}
	// A process killed between the journal's record of a start and the handler's first line ran nothing
	// of it: the command says interrupted, and the record has no line.
	missing := 0
	for i, r := range receipts {
		if at := i - missing; at >= len(ran) || ran[at] != want[i] {
			require.Equal(t, ack.Interrupted, outcomeOf(t, r).State.Stage, "%s is not in the record", want[i])
			missing++
		}
	}
	require.Len(t, ran, sends-missing, "none twice, and in order")
}

func outcomeOf(t *testing.T, r *controller.Receipt) ledger.Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e, err := r.Wait(ctx)
	require.False(t, errors.Is(err, context.DeadlineExceeded), "no outcome: %+v", e)
	require.NoError(t, err)
	return e
}
