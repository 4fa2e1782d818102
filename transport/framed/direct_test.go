package framed_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// Commands are handed to whom they are for by what reads; while that goes on nothing is read, until another
// is to read on, and then Close waits for nobody.
func TestDeliver(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(t *testing.T, w *world) {
		l := w.dial().(transport.Direct)
		var taken []string
		busy := make(chan struct{})
		l.Deliver(func(page []transport.Delivery) {
			for _, d := range page {
				taken = append(taken, d.ID)
			}
			if len(taken) < 3 {
				<-busy
			}
		})
		received := make(chan error, 1)
		go func() {
			_, err := l.Receive(t.Context())
			received <- err
		}()
		w.sendOne("c-1")
		synctest.Wait()
		w.sendOne("c-2")
		synctest.Wait()
		require.Equal(t, []string{"c-1"}, taken)
		l.ReadOn()
		synctest.Wait()
		require.Equal(t, []string{"c-1", "c-2"}, taken)
		l.ReadOn()
		l.ReadOn()
		w.sendOne("c-3")
		synctest.Wait()
		require.Equal(t, []string{"c-1", "c-2", "c-3"}, taken)
		require.Empty(t, received)
		require.NoError(t, l.Close())
		require.ErrorIs(t, <-received, transport.ErrClosed)
		close(busy) // two are the caller's
	})
}

// Who takes may end the goroutine: another reads on.
func TestTakeEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(t *testing.T, w *world) {
		l := w.dial().(transport.Direct)
		taken := 0
		l.Deliver(func([]transport.Delivery) {
			taken++
			runtime.Goexit()
		})
		l.Post(nil, func(error) {}) // begins to read
		for i := range 3 {
			w.sendOne(fmt.Sprint("c-", i))
			synctest.Wait()
			require.Equal(t, i+1, taken)
		}
		require.NoError(t, l.Close())
	})
}

// An answer comes to whoever has posted, in order; at the end of the link each post has one.
func TestPost(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.send(3)
		l := w.dial().(transport.Direct)
		l.Deliver(func([]transport.Delivery) {})
		answers := make(chan error, 10)
		post := func(acks ...ack.Ack) { l.Post(acks, func(err error) { answers <- err }) }
		post(ack.Ack{CommandID: "c-1", Stage: ack.Succeeded})
		require.NoError(t, <-answers)
		post(ack.Ack{CommandID: "c-2", Stage: ack.Succeeded}, ack.Ack{CommandID: "nobody", Stage: ack.Succeeded})
		err := <-answers
		require.NoError(t, transport.AckError(err, 0))
		require.ErrorIs(t, transport.AckError(err, 1), transport.ErrUnknownCommand)

		large := make([]ack.Ack, 300) // two frames
		for i := range large {
			large[i] = ack.Ack{CommandID: "c-3", Stage: ack.Succeeded}
		}
		large[299].CommandID = "nobody"
		post(large...)
		err = <-answers
		require.NoError(t, transport.AckError(err, 0))
		require.ErrorIs(t, transport.AckError(err, 299), transport.ErrUnknownCommand)

		w.agent.onSend = func(*framed.Frame) int { return 0 } // the network takes it
		post(ack.Ack{CommandID: "c-3", Stage: ack.Succeeded})
		post(large...)
		synctest.Wait()
		require.Empty(t, answers)
		require.NoError(t, l.Close())
		require.ErrorIs(t, <-answers, transport.ErrClosed)
		require.ErrorIs(t, <-answers, transport.ErrClosed)
		post(ack.Ack{CommandID: "c-3", Stage: ack.Succeeded})
		require.ErrorIs(t, <-answers, transport.ErrClosed)
		require.Empty(t, answers)
	})
}

// Over a pipe that waits for nobody, who sends a small command while nothing is under way writes it; nobody
// else ever waits for a pipe.
func TestWhoSendsWrites(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		underWay bool
		size     int
	}{{"with another under way", true, 1}, {"a large one", false, 10_000}} {
		full := make(chan struct{})
		inWorldWith(t, framed.ServeOptions{Prompt: true}, func(_, server *memoryPipe) {
			full = make(chan struct{})
			server.onSend = func(f *framed.Frame) int {
				if f.Commands != nil && f.Commands[0].ID != "c-1" {
					<-full
				}
				return 1
			}
		}, func(t *testing.T, w *world) {
			w.say(hello)
			require.NotNil(t, w.hear().Welcome)
			synctest.Wait()
			w.sendOne("c-1")
			require.Len(t, w.agent.in, 1, "it is there when Send returns")
			w.hear()
			if !test.underWay {
				w.say(`{"n":2,"acks":[{"command_id":"c-1","status":"succeeded"}]}`)
				synctest.Wait()
			}
			cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: strings.Repeat("x", test.size)}, command.Options{})
			require.NoError(t, err)
			sent := make(chan error, 1)
			go func() {
				_, err := w.c.Send(t.Context(), "vm-1", cmd)
				sent <- err
			}()
			synctest.Wait()
			returned := len(sent) == 1
			close(full)
			require.NoError(t, <-sent)
			require.True(t, returned, test.name)
		})
	}
}

// slowly is a Transport whose links take their time to record.
type slowly struct{ transport.Transport }

func (s slowly) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	l, err := s.Transport.Dial(ctx, h)
	return slowLink{l}, err
}

type slowLink struct{ transport.Link }

const slow = time.Second

func (s slowLink) Ack(ctx context.Context, acks ...ack.Ack) error {
	time.Sleep(slow)
	return s.Link.Ack(ctx, acks...)
}

// Where recording takes long, the link is read meanwhile, and what has come is recorded together.
func TestReadsWhileRecording(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		agent, server := newMemoryPipe(16)
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		w := &world{t: t, c: c, agent: agent, ended: make(chan error, 1)}
		go func() {
			w.ended <- framed.Serve(t.Context(), server, slowly{c}, framed.ServeOptions{VM: "vm-1", Name: "memory"})
		}()
		w.say(hello)
		require.NotNil(t, w.hear().Welcome)
		w.send(4)
		w.hearCommands(4)
		done := func(n, command int) string {
			return fmt.Sprintf(`{"n":%d,"acks":[{"command_id":"c-%d","status":"succeeded"}]}`, n, command)
		}
		w.say(done(2, 1)) // how long it takes is seen
		require.EqualValues(t, 2, w.hear().Recorded.Upto)
		began := time.Now()
		w.say(done(3, 2))
		synctest.Wait()
		w.say(done(4, 3), done(5, 4), `{"n":6,"ping":true}`)
		require.True(t, w.hear().Pong)
		require.Equal(t, began, time.Now())
		for upto := uint64(0); upto < 5; {
			upto = w.hear().Recorded.Upto
		}
		require.Less(t, time.Since(began), 2*slow+slow/2, "the second and the third go together")
		agent.Close()
		<-w.ended
	})
}
