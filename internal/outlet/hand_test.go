package outlet

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/safely"
)

// A hand does what there is, stays for a while, goes, and comes back.
func TestHand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var done atomic.Int32
		var mu sync.Mutex
		over := make(chan struct{})
		var crew Crew
		crew.Engage(&mu, over, func(error) { t.Error("stopped") })
		h := &Hand{Do: func() { done.Add(1) }}
		work := func() {
			mu.Lock()
			defer mu.Unlock()
			crew.Work(h)
		}
		there := func() bool {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return h.some != nil
		}
		for i := range int32(3) {
			work()
			require.True(t, there())
			require.Equal(t, 2*i+1, done.Load())
			time.Sleep(stays)
			work()
			require.True(t, there())
			require.Equal(t, 2*i+2, done.Load())
			time.Sleep(3 * stays)
			require.False(t, there())
		}
		work()
		close(over)
		crew.Wait()
	})
}

// TestHandPanics has work panic: the link is stopped, without its lock held, and the process goes on.
func TestHandPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		over := make(chan struct{})
		var why error
		var crew Crew
		crew.Engage(&mu, over, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			why = err
			close(over)
		})
		mu.Lock()
		crew.Work(&Hand{Do: func() {
			mu.Lock()
			defer mu.Unlock()
			panic("on purpose")
		}})
		mu.Unlock()
		crew.Wait()
		var panicked *safely.Panic
		require.ErrorAs(t, why, &panicked)
		require.Equal(t, "on purpose", panicked.Text())
	})
}
