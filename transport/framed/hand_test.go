package framed

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A hand does what there is, stays for a while, goes, and comes back.
func TestHand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var done atomic.Int32
		s := &Session{end: newEnd(nil)}
		h := &hand{do: func() { done.Add(1) }}
		work := func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.work(h)
		}
		there := func() bool {
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			return h.some != nil
		}
		for i := range int32(3) {
			work()
			require.True(t, there())
			require.Equal(t, 2*i+1, done.Load())
			time.Sleep(handTime)
			work()
			require.True(t, there())
			require.Equal(t, 2*i+2, done.Load())
			time.Sleep(3 * handTime)
			require.False(t, there())
		}
		work()
		close(s.done)
		s.running.Wait()
	})
}
