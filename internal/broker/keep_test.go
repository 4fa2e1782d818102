package broker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/broker"
)

// A connection that is lost again and again is made again with pauses that grow, and nothing spins.
func TestKeep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := broker.NewServer(nil, broker.ServerOptions{Name: "mq"})
		tries := 0
		require.NoError(t, broker.Keep(t.Context(), s, false, func(context.Context) (int, error) {
			if tries++; tries%2 == 0 {
				return 0, errors.New("not yet")
			}
			return tries, nil
		}, func(context.Context, int) error { return errors.New("lost at once") }))
		time.Sleep(time.Hour)
		synctest.Wait()
		s.Close()
		require.Less(t, tries, 3600)
		require.Greater(t, tries, 600)
	})
}

// onAndOff is a broker that is away, or not.
type onAndOff struct {
	mu   sync.Mutex
	away error // nil: it is there
	lost chan error
}

func (b *onAndOff) be(away error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = away
}

func (b *onAndOff) connect(context.Context) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return 0, b.away
}

func (b *onAndOff) run(ctx context.Context, _ int) error {
	select {
	case err := <-b.lost:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Whoever asks is told why there is no connection, now and not as it was; the log says each reason once, and then seldom.
func TestReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := broker.NewServer(nil, broker.ServerOptions{Name: "mq", Log: slog.New(slog.NewTextHandler(&log, nil))})
		b := &onAndOff{lost: make(chan error)}
		require.NoError(t, broker.Keep(t.Context(), s, false, b.connect, b.run))
		require.NoError(t, s.Ready())

		b.be(errors.New("mq: bad password"))
		b.lost <- errors.New("EOF")
		synctest.Wait()
		require.EqualError(t, s.Ready(), "mq: the connection to the broker was lost: EOF")
		time.Sleep(time.Second)
		synctest.Wait()
		require.EqualError(t, s.Ready(), "mq: bad password")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		said := strings.Count(log.String(), "bad password")
		require.GreaterOrEqual(t, said, 9, "once a minute, about")
		require.LessOrEqual(t, said, 11)
		b.be(errors.New("mq: no such user"))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.EqualError(t, s.Ready(), "mq: no such user")
		require.Equal(t, 1, strings.Count(log.String(), "no such user"))

		b.be(nil)
		time.Sleep(10 * time.Second) // longer than any pause
		synctest.Wait()
		require.NoError(t, s.Ready())
		require.Equal(t, 1, strings.Count(log.String(), "connected to the broker"))
		b.lost <- nil
		synctest.Wait()
		require.EqualError(t, s.Ready(), "mq: the connection to the broker was lost")
		s.Close()
		require.EqualError(t, s.Ready(), "mq: the listener is closed")
	})
}

// Where the first connection cannot be made it is an error, or goes on like a loss, as the caller chooses.
func TestKeepFromTheBeginning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &onAndOff{lost: make(chan error), away: errors.New("refused")}
		s := broker.NewServer(nil, broker.ServerOptions{Name: "mq"})
		require.EqualError(t, broker.Keep(t.Context(), s, false, b.connect, b.run), "refused")
		s.Close()

		s = broker.NewServer(nil, broker.ServerOptions{Name: "mq"})
		require.NoError(t, broker.Keep(t.Context(), s, true, b.connect, b.run))
		require.EqualError(t, s.Ready(), "mq: refused")
		b.be(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		require.NoError(t, s.Ready())
		s.Close()

		b.be(errors.New("refused"))
		s = broker.NewServer(nil, broker.ServerOptions{Name: "mq"})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.EqualError(t, broker.Keep(ctx, s, true, b.connect, b.run), "refused", "nobody waits for it any more")
		s.Close()
	})
}
