package framed_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/transport/framed"
)

// That ends were recorded is said with the next commands, or soon; what somebody may wait for, at once.
func TestAnswersRideWithCommands(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.say(hello)
		require.NotNil(t, w.hear().Welcome)
		w.send(2)
		w.hearCommands(2)

		w.say(`{"n":2,"acks":[{"command_id":"c-1","status":"started"}]}`)
		began := time.Now()
		require.EqualValues(t, 2, w.hear().Recorded.Upto)
		require.Equal(t, began, time.Now())

		w.say(`{"n":3,"acks":[{"command_id":"c-1","status":"succeeded"}]}`)
		synctest.Wait()
		w.sendOne("c-3")
		f := w.hear()
		require.Len(t, f.Commands, 1)
		require.EqualValues(t, 3, f.Recorded.Upto)

		w.say(`{"n":4,"acks":[{"command_id":"c-2","status":"succeeded"}]}`)
		began = time.Now()
		f = w.hear()
		require.Nil(t, f.Commands)
		require.EqualValues(t, 4, f.Recorded.Upto)
		require.LessOrEqual(t, time.Since(began), time.Millisecond)

		w.say(`{"n":5,"acks":[{"command_id":"nobody","status":"succeeded"}]}`)
		began = time.Now()
		require.Len(t, w.hear().Recorded.Refused, 1)
		require.Equal(t, began, time.Now())

		w.say(`{"n":6,"acks":[{"command_id":"c-3","status":"succeeded"}]}`)
		synctest.Wait()
		w.c.Close()
		require.EqualValues(t, 6, w.hear().Recorded.Upto, "also at the end")
		require.NotNil(t, w.hear().Close)
	})
}

// Serve does not return while somebody still writes to the pipe, which is not Serve's after that.
func TestServeWaitsForTheLastWrite(t *testing.T) {
	t.Parallel()
	var written atomic.Bool
	slow := func(_, server *memoryPipe) {
		server.onSend = func(f *framed.Frame) int {
			if f.Recorded != nil {
				time.Sleep(5 * time.Second)
				written.Store(true)
			}
			return 1
		}
	}
	inWorld(t, slow, func(t *testing.T, w *world) {
		w.say(hello)
		require.NotNil(t, w.hear().Welcome)
		w.send(1)
		require.Len(t, w.hear().Commands, 1)
		w.say(`{"n":2,"acks":[{"command_id":"c-1","status":"succeeded"}]}`)
		time.Sleep(time.Second) // the answer is on its way, by a timer
		require.NoError(t, w.agent.Close())
		<-w.ended
		require.True(t, written.Load())
	})
}
