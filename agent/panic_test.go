package agent_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
)

// lines is a log at debug level. It is safe for concurrent use.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// onlyDebug requires that a text is in lines of level debug, and in no others.
func (l *lines) onlyDebug(t *testing.T, text string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	found := false
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, text) {
			require.Contains(t, line, "level=DEBUG")
			found = true
		}
	}
	require.True(t, found, "%s is not in %s", text, &l.b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// badError is an error whose As panics.
type badError struct{ text string }

func (e badError) Error() string { return e.text }
func (e badError) As(any) bool   { panic(e.text) }

// A handler that panics, whenever it does, has failed, with a code and a fixed text. What it panicked with, which may be a
// secret of the command, is for debugging on the spot.
func TestPanicsOfHandlers(t *testing.T) {
	const secret = "s3cret-value"
	for name, handle := range map[string]func(ctx context.Context, job *agent.Job) (any, error){
		"at once":          func(context.Context, *agent.Job) (any, error) { panic(secret) },
		"with an error":    func(context.Context, *agent.Job) (any, error) { panic(badError{secret}) },
		"in its error":     func(context.Context, *agent.Job) (any, error) { return nil, badError{secret} },
		"once it has said": func(_ context.Context, job *agent.Job) (any, error) { _ = job.Progress("half", nil); panic(secret) },
		"when cancelled":   func(ctx context.Context, _ *agent.Job) (any, error) { <-ctx.Done(); panic(secret) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				var log lines
				a := w.agent(agent.Options{Log: log.logger()})
				agent.Handle(a, func(ctx context.Context, job *agent.Job, _ command.Drain) (any, error) { return handle(ctx, job) }, agent.Policy{})
				w.config(a, agent.Policy{})
				stop := run(w.T, a)
				r := w.send(command.Drain{}, command.Options{})
				if name == "when cancelled" {
					time.Sleep(time.Second)
					_, err := w.c.Cancel(w.Context(), r.ID(), "enough")
					require.NoError(w, err)
				}
				e := w.settled(r, ack.Failed, "")
				require.Equal(w, ack.CodePanic, e.Code)
				require.Equal(w, "the handler panicked: the agent's log has more, at debug level", e.Reason)
				require.Empty(w, e.Result)
				require.Contains(w, log.String(), `level=ERROR msg="handler panicked"`)
				log.onlyDebug(w.T, secret)
				log.onlyDebug(w.T, "panic_test.go")
				w.settled(w.send(key("next", ""), command.Options{}), ack.Succeeded, "")
				require.NoError(w, stop())
			})
		})
	}
}

// A result that panics when it is marshalled says so without what it panicked with.
func TestPanicOfAResult(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		agent.Handle(a, func(context.Context, *agent.Job, command.Drain) (any, error) { return panics{}, nil }, agent.Policy{})
		stop := run(w.T, a)
		e := w.settled(w.send(command.Drain{}, command.Options{}), ack.Succeeded, "")
		require.Equal(w, "the result is not JSON: its MarshalJSON panicked", e.Reason)
		require.NoError(w, stop())
	})
}

// A function that was left for the end may panic, too: the agent goes on.
func TestPanicOfFinally(t *testing.T) {
	inWorld(t, func(w *world) {
		var log lines
		a := w.agent(agent.Options{Log: log.logger()})
		agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Drain) (any, error) {
			job.Finally(func() { panic("s3cret-value") })
			return nil, nil
		}, agent.Policy{})
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		w.settled(w.send(command.Drain{}, command.Options{}), ack.Succeeded, "")
		w.settled(w.send(key("next", ""), command.Options{}), ack.Succeeded, "")
		time.Sleep(time.Second)
		require.Contains(w, log.String(), `level=ERROR msg="a function of Finally panicked"`)
		log.onlyDebug(w.T, "s3cret-value")
		require.NoError(w, stop())
	})
}

// forgets panics at its first dials, as one whose source of tokens does.
type forgets struct {
	transport.Transport
	token transport.TokenSource
}

func (f forgets) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	if _, err := f.token.Get(ctx); err != nil {
		return nil, err
	}
	return f.Transport.Dial(ctx, h)
}

// A dial that panics, or the source of tokens that it asks, is a dial that failed.
func TestPanicsOfDials(t *testing.T) {
	inWorld(t, func(w *world) {
		var log lines
		dials := 0
		a, err := agent.New(forgets{w, func(context.Context) (string, error) {
			if dials++; dials < 3 {
				panic("s3cret-value")
			}
			return "", nil
		}}, agent.Options{VM: "vm-1", Log: log.logger()})
		require.NoError(w, err)
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		w.settled(w.send(key("next", ""), command.Options{}), ack.Succeeded, "")
		require.Equal(w, 3, dials)
		require.Contains(w, log.String(), "no token: it panicked")
		require.Contains(w, log.String(), `level=ERROR msg="a dial panicked"`)
		log.onlyDebug(w.T, "s3cret-value")
		require.NoError(w, stop())
	})
}
