package bolt

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ledger"
)

func TestQueue(t *testing.T) {
	t.Parallel()
	q := newQueue()
	var all []*request
	for range maxBatch + 3 {
		r := &request{done: make(chan error, 1)}
		require.True(t, q.add(r))
		all = append(all, r)
	}
	require.True(t, q.remove(all[1]))
	<-q.some
	require.Equal(t, append(all[:1:1], all[2:maxBatch+1]...), q.take())
	require.False(t, q.remove(all[0]), "the writer has it")
	<-q.some // there is more
	require.Equal(t, all[maxBatch+1:], q.take())
	require.Empty(t, q.some)
	require.Empty(t, q.take())

	late := &request{done: make(chan error, 1)}
	require.True(t, q.add(late))
	q.close()
	require.ErrorIs(t, <-late.done, ledger.ErrClosed)
	require.False(t, q.add(late))
}
