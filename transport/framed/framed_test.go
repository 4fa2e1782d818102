package framed_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a controller behind a pipe. The test holds the agent's end.
type world struct {
	t     *testing.T
	c     *controller.Controller
	agent *memoryPipe
	ended chan error // what Serve returned
}

// inWorld runs a test under fake time; prepare may be nil.
func inWorld(t *testing.T, prepare func(agent, server *memoryPipe), test func(t *testing.T, w *world)) {
	t.Helper()
	inWorldWith(t, framed.ServeOptions{}, prepare, test)
}

func inWorldWith(t *testing.T, o framed.ServeOptions, prepare func(agent, server *memoryPipe), test func(t *testing.T, w *world)) {
	t.Helper()
	o.VM, o.Name = "vm-1", "memory"
	synctest.Test(t, func(t *testing.T) {
		agent, server := newMemoryPipe(16)
		if prepare != nil {
			prepare(agent, server)
		}
		w := &world{t: t, c: controller.New(memory.New(), controller.Options{}), agent: agent, ended: make(chan error, 1)}
		go func() {
			w.ended <- framed.Serve(t.Context(), server, w.c, o)
		}()
		defer w.c.Close()
		defer agent.Close()
		test(t, w)
	})
}

func (w *world) dial() transport.Link {
	w.t.Helper()
	l, err := framed.Dial(w.t.Context(), w.agent, transport.Hello{VM: "vm-1", Instance: "i-1"}, framed.DialOptions{})
	require.NoError(w.t, err)
	return l
}

func (w *world) send(n int) {
	w.t.Helper()
	for i := range n {
		w.sendOne(fmt.Sprintf("c-%d", i+1))
	}
}

func (w *world) sendOne(id string) {
	w.t.Helper()
	cmd, err := command.New(command.SetLogLevel{Level: "debug"}, command.Options{ID: id})
	require.NoError(w.t, err)
	_, err = w.c.Send(w.t.Context(), "vm-1", cmd)
	require.NoError(w.t, err)
}

// say sends frames as they are on the wire.
func (w *world) say(frames ...string) {
	w.t.Helper()
	for _, f := range frames {
		require.NoError(w.t, w.agent.write([]byte(f)))
	}
}

func (w *world) hear() *framed.Frame {
	w.t.Helper()
	f, err := w.agent.Recv()
	require.NoError(w.t, err)
	return f
}

// hearCommands takes so many, in however many frames they come.
func (w *world) hearCommands(n int) {
	w.t.Helper()
	for n > 0 {
		f := w.hear()
		require.NotEmpty(w.t, f.Commands)
		n -= len(f.Commands)
	}
	require.Zero(w.t, n)
}

const hello = `{"n":1,"hello":{"version":1,"vm_id":"vm-1"}}`

// Scenario 67: the version that is spoken is the highest that both know.
func TestHandshake(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, frame string
		code        transport.Code // "": accepted
		says        string
	}{
		{"this version", hello, "", ""},
		{"a later version", `{"n":1,"hello":{"version":7,"vm_id":"vm-1","of_later":{"a":[1]}},"of_later":1}`, "", ""},
		{"without a VM", `{"n":1,"hello":{"version":1}}`, "", ""},
		{"no version", `{"n":1,"hello":{"vm_id":"vm-1"}}`, transport.CodeProtocol, "no version"},
		{"no hello", `{"n":1,"acks":[]}`, transport.CodeProtocol, "no hello"},
		{"no JSON", `{"n":`, transport.CodeProtocol, "does not decode"},
		{"another VM", `{"n":1,"hello":{"version":1,"vm_id":"vm-2"}}`, transport.CodeForbidden, "another VM"},
		{"a window below 0", `{"n":1,"hello":{"version":1,"window":-1}}`, transport.CodeInvalid, "out of range"},
		{"a long cursor", fmt.Sprintf(`{"n":1,"hello":{"version":1,"after":"%0200d"}}`, 1), transport.CodeInvalid, "out of range"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.say(test.frame)
				f := w.hear()
				if test.code == "" {
					require.Equal(t, &framed.Welcome{Version: framed.Version, Keepalive: 15}, f.Welcome)
					return
				}
				require.NotNil(t, f.Close, "%+v", f)
				require.Equal(t, test.code, f.Close.Code)
				require.Contains(t, f.Close.Message, test.says)
				require.ErrorIs(t, <-w.ended, &transport.Error{Code: test.code})
			})
		})
	}
}

// The transcript in PROTOCOL.md is what is said.
func TestTranscript(t *testing.T) {
	t.Parallel()
	protocol, err := os.ReadFile("../../PROTOCOL.md")
	require.NoError(t, err)
	_, transcript, ok := strings.Cut(string(protocol), "```\nagent       ")
	require.True(t, ok)
	transcript, _, ok = strings.Cut("agent       "+transcript, "\n```")
	require.True(t, ok)
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		send := func(id string) {
			cmd, err := command.New(command.Drain{}, command.Options{ID: id})
			require.NoError(t, err)
			_, err = c.Send(t.Context(), "vm-123", cmd)
			require.NoError(t, err)
		}
		send("c-1")
		l, err := c.Dial(t.Context(), transport.Hello{VM: "vm-123"})
		require.NoError(t, err)
		page, err := l.Receive(t.Context())
		require.NoError(t, err)
		epoch, _, _ := strings.Cut(string(page[0].Cursor), ".")
		require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: "c-1", Stage: ack.Succeeded}))
		require.NoError(t, l.Close())
		send("c-2")

		agent, server := newMemoryPipe(16)
		ended := make(chan error, 1)
		go func() {
			ended <- framed.Serve(t.Context(), server, c, framed.ServeOptions{VM: "vm-123", Name: "memory"})
		}()
		defer c.Close()
		defer agent.Close()
		const shown = "4a0a7f84a5634e79"
		for line := range strings.Lines(transcript) {
			who, frame, _ := strings.Cut(strings.TrimSpace(line), " ")
			frame = strings.TrimSpace(frame)
			if who == "agent" {
				require.NoError(t, agent.write([]byte(strings.ReplaceAll(frame, shown, epoch))))
				continue
			}
			if strings.Contains(frame, `"close"`) {
				c.Close()
			}
			want, _, _ := strings.Cut(frame, "…") // what follows differs each time, as does a retry
			want, _, _ = strings.Cut(want, `"retry_after"`)
			got := strings.ReplaceAll(string(<-agent.in), epoch, shown)
			require.True(t, strings.HasPrefix(got, want), "%s\nis not\n%s", got, want)
		}
		require.ErrorIs(t, <-ended, transport.ErrUnavailable)
	})
}

func TestSilentAgentIsTurnedAway(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(t *testing.T, w *world) {
		began := time.Now()
		require.Equal(t, transport.CodeProtocol, w.hear().Close.Code)
		require.Equal(t, 10*time.Second, time.Since(began))
		<-w.ended
	})
}

// An agent does not speak with a controller that answers a hello with nonsense.
func TestBadWelcome(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, frame, says string }{
		{"a later version", `{"n":1,"welcome":{"version":9,"keepalive":15}}`, "version 9"},
		{"no version", `{"n":1,"welcome":{}}`, "version 0"},
		{"commands", `{"n":1,"commands":[]}`, "no welcome"},
		{"a refusal", `{"n":1,"close":{"code":"revoked","message":"gone"}}`, "revoked: gone"},
		{"a number too high", `{"n":2,"welcome":{"version":1}}`, "lost"},
		{"no JSON", `welcome!`, "does not decode"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			agent, server := newMemoryPipe(4)
			require.NoError(t, server.write([]byte(test.frame)))
			_, err := framed.Dial(t.Context(), agent, transport.Hello{VM: "vm-1"}, framed.DialOptions{})
			require.ErrorContains(t, err, test.says)
			require.Error(t, server.write(nil), "the pipe is closed")
		})
	}
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			agent, _ := newMemoryPipe(4)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := framed.Dial(ctx, agent, transport.Hello{VM: "vm-1"}, framed.DialOptions{})
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	})
}

func TestCommandsAndAcks(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.send(3)
		l := w.dial()
		page, err := l.Receive(t.Context())
		require.NoError(t, err)
		require.Len(t, page, 3)

		// The refused one of three is told by its place; the others are recorded.
		err = l.Ack(t.Context(), ack.Ack{CommandID: "c-1", Stage: ack.Succeeded},
			ack.Ack{CommandID: "nobody", Stage: ack.Succeeded}, ack.Ack{CommandID: "c-2", Stage: ack.Failed})
		require.NoError(t, transport.AckError(err, 0))
		require.ErrorIs(t, transport.AckError(err, 1), transport.ErrUnknownCommand)
		require.NoError(t, transport.AckError(err, 2))
		for id, stage := range map[string]ack.Stage{"c-1": ack.Succeeded, "c-2": ack.Failed, "c-3": ack.Delivered} {
			e, err := w.c.Get(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, stage, e.State.Stage, id)
		}
		require.NoError(t, l.Report(t.Context(), event.Event{Type: event.VMStarted}))
		require.NoError(t, l.Report(t.Context()))
		require.ErrorIs(t, l.Report(t.Context(), event.Event{}), transport.ErrInvalid)
		require.NoError(t, l.Ack(t.Context()))

		require.NoError(t, l.Close())
		<-w.ended
		_, err = l.Receive(t.Context())
		require.ErrorIs(t, err, transport.ErrClosed)
		require.ErrorIs(t, l.Ack(t.Context(), ack.Ack{CommandID: "c-3", Stage: ack.Succeeded}), transport.ErrClosed)
		require.ErrorIs(t, l.Report(t.Context()), transport.ErrClosed)
	})
}

// What is too much for one frame, by number or by size, goes in several, and each ack is answered.
func TestLargeCallsAreParted(t *testing.T) {
	t.Parallel()
	var frames []int
	inWorld(t, func(agent, _ *memoryPipe) {
		agent.onSend = func(f *framed.Frame) int {
			switch {
			case f.Acks != nil:
				frames = append(frames, len(f.Acks))
			case f.Events != nil:
				frames = append(frames, -len(*f.Events))
			}
			return 1
		}
	}, func(t *testing.T, w *world) {
		w.send(600)
		l := w.dial()
		defer l.Close()
		many := make([]ack.Ack, 600)
		for i := range many {
			many[i] = ack.Ack{CommandID: fmt.Sprintf("c-%d", i+1), Stage: ack.Succeeded}
		}
		many[299].CommandID = "nobody"
		err := l.Ack(t.Context(), many...)
		for i := range many {
			if i == 299 {
				require.ErrorIs(t, transport.AckError(err, i), transport.ErrUnknownCommand)
			} else {
				require.NoError(t, transport.AckError(err, i))
			}
		}
		large := make([]ack.Ack, 20)
		for i := range large {
			large[i] = ack.Ack{CommandID: "c-300", Stage: ack.Succeeded, Result: []byte(`"` + strings.Repeat("x", ack.MaxResult-2) + `"`)}
		}
		require.NoError(t, l.Ack(t.Context(), large...))
		events := make([]event.Event, 300)
		for i := range events {
			events[i].Type = "x"
		}
		require.NoError(t, l.Report(t.Context(), events...))
		require.Equal(t, []int{256, 256, 88, 7, 7, 6, -256, -44}, frames)
	})
}

// While the pipe is busy, acks of many calls wait, and then go together.
func TestAcksAreJoined(t *testing.T) {
	t.Parallel()
	var frames []int
	var busy chan struct{}
	inWorld(t, func(agent, _ *memoryPipe) {
		busy = make(chan struct{})
		agent.onSend = func(f *framed.Frame) int {
			if f.Acks != nil {
				frames = append(frames, len(f.Acks))
				if len(frames) == 1 {
					<-busy
				}
			}
			return 1
		}
	}, func(t *testing.T, w *world) {
		const n = 600
		w.send(n)
		l := w.dial()
		var calls sync.WaitGroup
		for i := range n {
			calls.Go(func() {
				require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: fmt.Sprintf("c-%d", i+1), Stage: ack.Succeeded}))
			})
		}
		synctest.Wait()
		close(busy)
		calls.Wait()
		require.Equal(t, []int{1, 256, 256, 87}, frames)
		l.Close()
	})
}

// A link that is merely quiet lives, on a ping and a pong every 15 s.
func TestQuietLink(t *testing.T) {
	t.Parallel()
	var frames atomic.Int32
	inWorld(t, func(agent, server *memoryPipe) {
		count := func(*framed.Frame) int {
			frames.Add(1)
			return 1
		}
		agent.onSend, server.onSend = count, count
	}, func(t *testing.T, w *world) {
		l := w.dial()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := l.Receive(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		p, _ := w.c.Presence("vm-1")
		require.True(t, p.Attached)
		require.NoError(t, l.Close())
		require.InDelta(t, 2*60*60/15, frames.Load(), 4, "hello and welcome, too")
	})
}

// Each end asks a peer that is silent, and gives it up at twice the keepalive.
func TestSilentPeer(t *testing.T) {
	t.Parallel()
	t.Run("controller", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			agent, server := newMemoryPipe(4)
			require.NoError(t, server.write([]byte(`{"n":1,"welcome":{"version":1,"keepalive":5}}`)))
			start := time.Now().UTC()
			l, err := framed.Dial(t.Context(), agent, transport.Hello{VM: "vm-1"}, framed.DialOptions{})
			require.NoError(t, err)
			began := time.Now()
			_, err = l.Receive(t.Context())
			require.ErrorContains(t, err, "nothing was heard")
			require.Equal(t, 10*time.Second, time.Since(began))
			for _, want := range []framed.Frame{
				{N: 1, Hello: &framed.Hello{Version: framed.Version, Hello: transport.Hello{VM: "vm-1", Time: start}}},
				{N: 2, Ping: true},
			} {
				f, err := server.Recv()
				require.NoError(t, err)
				require.Equal(t, want, *f)
			}
			require.NoError(t, l.Close())
		})
	})
	t.Run("agent", func(t *testing.T) {
		inWorld(t, nil, func(t *testing.T, w *world) {
			w.say(hello)
			began := time.Now()
			require.ErrorContains(t, <-w.ended, "nothing was heard")
			require.Equal(t, 30*time.Second, time.Since(began))
			require.NotNil(t, w.hear().Welcome)
			require.True(t, w.hear().Ping)
		})
	})
}

// A frame that is lost, or comes twice, ends the link: nothing is passed over silently.
func TestLostAndRepeatedFrames(t *testing.T) {
	t.Parallel()
	for _, times := range []int{0, 2} {
		t.Run(fmt.Sprintf("down, %d times", times), func(t *testing.T) {
			first := true
			inWorld(t, func(_, server *memoryPipe) {
				server.onSend = func(f *framed.Frame) int {
					if f.Commands != nil && first {
						first = false
						return times
					}
					return 1
				}
			}, func(t *testing.T, w *world) {
				l := w.dial()
				w.send(1)
				synctest.Wait()
				got := 0
				for {
					page, err := l.Receive(t.Context())
					if err != nil {
						require.ErrorContains(t, err, "lost, repeated or out of order")
						break
					}
					got += len(page)
				}
				require.LessOrEqual(t, got, 1)
				l.Close()
				require.Error(t, <-w.ended)
			})
		})
		t.Run(fmt.Sprintf("up, %d times", times), func(t *testing.T) {
			first := true
			inWorld(t, func(agent, _ *memoryPipe) {
				agent.onSend = func(f *framed.Frame) int {
					if f.Acks != nil && first {
						first = false
						return times
					}
					return 1
				}
			}, func(t *testing.T, w *world) {
				w.send(1)
				l := w.dial()
				_ = l.Ack(t.Context(), ack.Ack{CommandID: "c-1", Stage: ack.Received}) // may be recorded before the second comes
				err := l.Ack(t.Context(), ack.Ack{CommandID: "c-1", Stage: ack.Succeeded})
				require.Error(t, err)
				require.False(t, transport.Refused(err))
				require.ErrorContains(t, <-w.ended, "lost, repeated or out of order")
				l.Close()
			})
		})
	}
}

// A frame of a later version is ignored; one that makes no sense ends the link, and says why.
func TestFramesFromAgents(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, frame string
		code        transport.Code
	}{
		{"of a later version", `{"n":2,"of_later":true}`, ""},
		{"a second hello", `{"n":2,"hello":{"version":1}}`, transport.CodeProtocol},
		{"no JSON", `[`, transport.CodeProtocol},
		{"too many acks", `{"n":2,"acks":[` + repeated(`{"command_id":"x","status":"received"}`, 257) + `]}`, transport.CodeTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.say(hello)
				require.NotNil(t, w.hear().Welcome)
				w.say(test.frame)
				if test.code == "" {
					w.say(`{"n":3,"ping":true}`)
					require.True(t, w.hear().Pong)
					return
				}
				f := w.hear()
				require.NotNil(t, f.Close)
				require.Equal(t, test.code, f.Close.Code)
				require.Error(t, <-w.ended)
			})
		})
	}
}

// An ack that makes no sense is refused, and the others of its frame are not.
func TestAckThatMakesNoSense(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.send(1)
		w.say(hello)
		require.NotNil(t, w.hear().Welcome)
		require.Len(t, w.hear().Commands, 1)
		w.say(`{"n":2,"acks":[{"command_id":"c-1","status":"nonsense"},{"command_id":"c-1","status":"processed"}]}`)
		f := w.hear()
		require.NotNil(t, f.Recorded)
		require.EqualValues(t, 2, f.Recorded.Upto)
		require.Len(t, f.Recorded.Refused, 1)
		require.Equal(t, 0, f.Recorded.Refused[0].Index)
		require.Equal(t, transport.CodeInvalid, f.Recorded.Refused[0].Code)
		e, err := w.c.Get(t.Context(), "c-1")
		require.NoError(t, err)
		require.Equal(t, ack.Succeeded, e.State.Stage)
	})
}

// What the controller answers must have been asked.
func TestFramesFromControllers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, frame, says string }{
		{"an answer to no ack", `{"n":2,"recorded":{"upto":9}}`, "not asked"},
		{"an answer to no event", `{"n":2,"taken":{"of":1}}`, "not asked"},
		{"an answer to nothing", `{"n":2,"taken":{"of":0}}`, "not asked"},
		{"the end", `{"n":2,"close":{"code":"unavailable","retry_after":7}}`, "unavailable (retry after 7s)"},
		{"a wait for ever", `{"n":2,"close":{"code":"unavailable","retry_after":1e300}}`, "retry after 24h0m0s"},
		{"a command without an ID", `{"n":2,"commands":[{"type":"drain","cursor":"c"}]}`, "without an ID"},
		{"a cursor that is none", `{"n":2,"commands":[{"id":"x","type":"drain","cursor":"a b"}]}`, "a cursor that is none"},
		{"too many commands", `{"n":2,"commands":[` + repeated(`{"id":"x","type":"drain","cursor":"c"}`, 1025) + `]}`, "beyond what was asked for"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			agent, server := newMemoryPipe(4)
			require.NoError(t, server.write([]byte(`{"n":1,"welcome":{"version":1,"keepalive":15}}`)))
			l, err := framed.Dial(t.Context(), agent, transport.Hello{VM: "vm-1"}, framed.DialOptions{})
			require.NoError(t, err)
			require.NoError(t, server.write([]byte(test.frame)))
			for err == nil {
				_, err = l.Receive(t.Context())
			}
			require.ErrorContains(t, err, test.says)
			require.NoError(t, l.Close())
		})
	}
}

// An event that still waits for the pipe has no number yet, and no answer.
func TestAnswerToAnEventThatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		agent, server := newMemoryPipe(1)
		require.NoError(t, server.write([]byte(`{"n":1,"welcome":{"version":1,"keepalive":15}}`)))
		l, err := framed.Dial(t.Context(), agent, transport.Hello{VM: "vm-1"}, framed.DialOptions{}) // hello fills the pipe
		require.NoError(t, err)
		for range 2 {
			go func() { _ = l.Report(t.Context()) }()
		}
		synctest.Wait()
		require.NoError(t, server.write([]byte(`{"n":2,"taken":{"of":2}}`)))
		require.NoError(t, server.write([]byte(`{"n":3,"taken":{"of":0}}`)))
		_, err = l.Receive(t.Context())
		require.ErrorContains(t, err, "not asked")
		require.NoError(t, l.Close())
	})
}

func repeated(s string, n int) string {
	out := s
	for range n - 1 {
		out += "," + s
	}
	return out
}

// Scenario 51, of the protocol alone.
func TestCloseFromManyGoroutines(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(t *testing.T, w *world) {
		l := w.dial()
		var calls sync.WaitGroup
		calls.Go(func() { _, _ = l.Receive(t.Context()) })
		for range 10 {
			calls.Go(func() { _ = l.Ack(t.Context(), ack.Ack{CommandID: "c-1", Stage: ack.Received}) })
			calls.Go(func() { require.NoError(t, l.Close()) })
		}
		calls.Wait()
		<-w.ended
	})
}

// A peer that does not read blocks neither Close nor the end of the controller.
func TestPeerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{Window: 5000, Limits: ledger.Limits{Commands: 5000}})
		agent, server := newMemoryPipe(1)
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { ended <- framed.Serve(ctx, server, c, framed.ServeOptions{VM: "vm-1"}) }()
		require.NoError(t, agent.write([]byte(hello)))
		w := &world{t: t, c: c}
		w.send(200)
		synctest.Wait()
		cancel(transport.Errorf(transport.CodeUnavailable, "the server stops"))
		require.ErrorIs(t, <-ended, transport.ErrUnavailable)
		c.Close()
	})
}

// A dial that was given up before it began says nothing.
func TestDialGivenUp(t *testing.T) {
	t.Parallel()
	agent, _ := newMemoryPipe(4)
	agent.onSend = func(*framed.Frame) int {
		t.Error("a frame was sent")
		return 0
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := framed.Dial(ctx, agent, transport.Hello{VM: "vm-1"}, framed.DialOptions{})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, agent.write(nil), errEnded)
}
