package broker_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/transport"
)

// asked is a link that notes when it is asked whether its controller lives.
type asked struct {
	transport.Link
	mu sync.Mutex
	at []time.Time
}

func (a *asked) Probe(time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, time.Now())
}

func (a *asked) times() []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.at
}

// Whoever says that a controller has started has an agent ask within a second, and no more than once in ten, as often as it
// is said; what is said in between is not forgotten.
func TestStarted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s broker.Started
		s.Heard() // there is no link that could be asked about
		l := &asked{}
		s.Linked(l)
		time.Sleep(time.Minute)
		require.Empty(t, l.times())

		began := time.Now()
		for range 1000 {
			s.Heard()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, l.times(), 1)
		require.Less(t, l.times()[0].Sub(began), time.Second)

		s.Heard()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Len(t, l.times(), 1)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		require.Len(t, l.times(), 2)

		began = time.Now()
		for range 36_000 { // an hour
			s.Heard()
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		require.LessOrEqual(t, len(l.times())-2, int(time.Since(began)/(10*time.Second))+1)
		require.Greater(t, len(l.times())-2, 300)
	})
}

// A fleet does not ask all at once.
func TestStartedIsSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fleet := make([]*asked, 200)
		began := time.Now()
		for i := range fleet {
			var s broker.Started
			fleet[i] = &asked{}
			s.Linked(fleet[i])
			s.Heard()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		tenths := map[time.Duration]int{}
		for _, l := range fleet {
			require.Len(t, l.times(), 1)
			tenths[l.times()[0].Sub(began)/(100*time.Millisecond)]++
		}
		require.Len(t, tenths, 10)
		for _, n := range tenths {
			require.Less(t, n, 60)
		}
	})
}

// A link that cannot be asked is left alone.
func TestStartedWithoutAProber(t *testing.T) {
	t.Parallel()
	var s broker.Started
	s.Linked(nil)
	s.Heard()
}
