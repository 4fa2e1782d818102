package framed_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// A peer that is asked out of turn, and does not answer, ends the link in the time that it had; one that answers does not.
func TestProbe(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]bool{"answers": true, "is silent": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newBrokenPipe()
				n := uint64(0)
				p.send = func(f *framed.Frame) error {
					if f.Ping && answers {
						n++
						p.in <- &framed.Frame{N: n, Pong: true}
					}
					return nil
				}
				l, err := framed.Dial(t.Context(), p, transport.Hello{VM: "vm-1"}, framed.DialOptions{Welcome: &framed.Welcome{Version: 1, Keepalive: 3600}})
				require.NoError(t, err)
				ended := make(chan error, 1)
				go func() {
					_, err := l.Receive(t.Context())
					ended <- err
				}()
				time.Sleep(time.Minute)
				l.(framed.Prober).Probe(2 * time.Second)
				began := time.Now()
				if answers {
					time.Sleep(time.Minute)
					synctest.Wait()
					require.Empty(t, ended)
					require.NoError(t, l.Close())
					<-ended
				} else {
					require.ErrorContains(t, <-ended, "nothing was heard of the peer")
					require.Equal(t, 2*time.Second, time.Since(began))
					require.NoError(t, l.Close())
				}
				l.(framed.Prober).Probe(time.Second) // nothing is asked any more
				time.Sleep(time.Minute)
			})
		})
	}
}
