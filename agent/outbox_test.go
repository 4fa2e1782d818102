package agent

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
)

func word(id string, s ack.Stage, reason string) ack.Ack {
	return ack.Ack{CommandID: id, Stage: s, Attempt: 1, Reason: reason}
}

func (l letter) String() string {
	return fmt.Sprint(l.ack.CommandID, " ", l.ack.Stage, " ", l.ack.Reason)
}

// due says whether a channel of signals holds one, and takes it.
func due(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A take gets at most a batch, and nothing while as many batches as are allowed are under way. Whoever may take is told when
// that is worth it.
func TestBatches(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	for i := range 2*ackBatch + 1 {
		o.put(word(fmt.Sprint(i), ack.Received, ""), false, nil)
	}
	require.False(t, due(o.now))
	require.True(t, due(o.soon))
	first := o.take(2)
	require.Len(t, first, ackBatch)
	require.Equal(t, "0 received ", first[0].String())
	require.True(t, due(o.now), "there is more")
	second := o.take(2)
	require.Len(t, second, ackBatch)
	require.True(t, due(o.now), "there is more")
	require.Nil(t, o.take(2))
	require.False(t, due(o.now))
	o.sent(second, nil)
	require.True(t, due(o.now), "a take got nothing")
	require.Len(t, o.take(2), 1)
	require.False(t, due(o.now))
	o.sent(first, nil)
	require.False(t, due(o.now), "nobody waits for it")
	require.Nil(t, o.take(1), "one is under way")
	require.Equal(t, 1, o.size())

	o = newOutbox()
	require.Nil(t, o.take(0))
	o.sent(nil, nil)
	require.False(t, due(o.now), "there was nothing to wait for")
}

// What came back goes before what has been put since, in its order, and what was said of the same command meanwhile decides.
func TestWordsThatCameBack(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	for _, id := range []string{"a", "b", "c"} {
		o.put(word(id, ack.Received, ""), true, nil)
	}
	batch := o.take(1)
	o.put(word("d", ack.Received, ""), true, nil)
	o.put(word("b", ack.Started, ""), true, nil)
	require.Len(t, o.take(2), 1, "of b one is under way")
	require.True(t, due(o.now))
	o.sent(batch, batch[:2])
	require.True(t, due(o.now))
	require.Equal(t, "[a received  b started ]", fmt.Sprint(o.take(2)))
	require.Equal(t, 3, o.size(), "c was recorded")
}

// A repeat says nothing new: what had been said of how far the command is goes instead, with the later attempt.
func TestRepeats(t *testing.T) {
	t.Parallel()
	again := word("a", ack.Started, "")
	again.Attempt = 2
	for name, c := range map[string]struct {
		first ack.Ack
		want  string
	}{
		"progress":  {word("a", ack.Progress, "half"), "a progress half"},
		"an end":    {word("a", ack.Succeeded, "done"), "a succeeded done"},
		"its start": {word("a", ack.Started, "first"), "a started "},
	} {
		for _, underWay := range []bool{false, true} {
			o := newOutbox()
			o.put(c.first, false, nil)
			if underWay {
				batch := o.take(1)
				o.repeat(again)
				require.Nil(t, o.take(2), name)
				o.sent(batch, batch)
			} else {
				o.repeat(again)
				require.True(t, due(o.now))
			}
			batch := o.take(1)
			require.Equal(t, "["+c.want+"]", fmt.Sprint(batch), "%s %v", name, underWay)
			require.Equal(t, 2, batch[0].ack.Attempt, "%s %v", name, underWay)
			require.Equal(t, 1, c.first.Attempt, "nobody writes to an ack")
		}
	}
	// What is said anew after a repeat counts.
	o := newOutbox()
	o.put(word("a", ack.Progress, "half"), true, nil)
	batch := o.take(1)
	o.repeat(again)
	o.put(word("a", ack.Progress, "most"), true, nil)
	o.sent(batch, batch)
	require.Equal(t, "[a progress most]", fmt.Sprint(o.take(1)))
	// A word that is no repeat is newer than progress that came back.
	o = newOutbox()
	o.put(word("a", ack.Progress, "half"), true, nil)
	batch = o.take(1)
	o.put(word("a", ack.Deferred, "later"), true, nil)
	o.sent(batch, batch)
	require.Equal(t, "[a deferred later]", fmt.Sprint(o.take(1)))
}

// An end does not wait for what is under way of its command, and nothing is said after it. All who wait for words about the
// command are told of its end.
func TestAnEndGoesAtOnce(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	var told []string
	tell := func(who string) func(error) {
		return func(err error) { told = append(told, fmt.Sprint(who, " ", err)) }
	}
	o.put(word("a", ack.Started, ""), true, tell("start"))
	start := o.take(1)
	end := word("a", ack.Succeeded, "")
	o.putFinal(&end, []func(){func() { told = append(told, "over") }})
	require.True(t, due(o.now))
	o.put(word("a", ack.Progress, ""), true, tell("late"))
	final := o.take(2)
	require.Equal(t, "[a succeeded ]", fmt.Sprint(final))
	o.sent(start, start) // it is said again, unless the end is
	o.sent(final, final)
	batch := o.take(1)
	require.Equal(t, "[a succeeded ]", fmt.Sprint(batch))
	for _, done := range batch[0].done {
		done(errors.New("recorded"))
	}
	for _, done := range batch[0].finally {
		done()
	}
	require.Equal(t, []string{"start recorded", "over"}, told)
	o.sent(batch, nil)
	require.Zero(t, o.size())
}

// Who waits for the outbox to be empty is told when the last word was recorded.
func TestEmptied(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	closed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	require.True(t, closed(o.emptied()))
	o.put(word("a", ack.Started, ""), true, nil)
	empty := o.emptied()
	batch := o.take(1)
	o.sent(batch, batch)
	require.False(t, closed(empty))
	batch = o.take(1)
	o.put(word("b", ack.Started, ""), true, nil)
	o.sent(batch, nil)
	require.False(t, closed(empty))
	batch = o.take(1)
	empty = o.emptied()
	o.sent(batch, nil)
	require.True(t, closed(empty))
	require.True(t, closed(o.emptied()))
}

// What is put while the outbox is held is signalled at its release: at once by whoever releases it, else soon.
func TestHold(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	o.hold()
	require.False(t, o.release())
	require.False(t, due(o.now) || due(o.soon))
	o.hold()
	o.put(word("a", ack.Received, ""), false, nil)
	require.False(t, due(o.now) || due(o.soon))
	require.False(t, o.release())
	require.True(t, due(o.soon))
	require.False(t, due(o.now))
	o.hold()
	require.False(t, o.release())
	require.False(t, due(o.soon), "that was signalled")
	o.hold()
	o.put(word("a", ack.Received, ""), false, nil)
	o.put(word("b", ack.Received, ""), true, nil)
	require.True(t, o.release())
	require.False(t, due(o.now) || due(o.soon), "who releases it sends")
	o.wake()
	require.True(t, due(o.now))
}
