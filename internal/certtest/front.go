package certtest

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Front speaks TLS as config says, and hands what it hears to the server at addr, which speaks none. It
// returns its own address, and the version of TLS of each handshake that succeeds, of the first hundred.
func Front(t testing.TB, config *tls.Config, addr string) (front string, versions <-chan uint16) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	require.NoError(t, err)
	spoken := make(chan uint16, 100)
	var mu sync.Mutex
	var open []net.Conn
	var running sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	keep := func(c net.Conn) net.Conn {
		mu.Lock()
		defer mu.Unlock()
		open = append(open, c)
		return c
	}
	running.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			near := tls.Server(keep(raw), config)
			running.Go(func() {
				defer near.Close()
				if near.Handshake() != nil { //nolint:noctx // the test's end closes it
					return
				}
				select {
				case spoken <- near.ConnectionState().Version:
				default:
				}
				far, err := net.Dial("tcp", addr) //nolint:noctx // loopback
				if err != nil {
					return
				}
				keep(far)
				running.Go(func() {
					_, _ = io.Copy(near, far) // it ends when either does
					near.Close()
				})
				_, _ = io.Copy(far, near)
				far.Close()
			})
		}
	})
	return l.Addr().String(), spoken
}

// Old is a server that speaks nothing newer than TLS 1.2, with a certificate for 127.0.0.1 and localhost.
func Old(t testing.TB, a *Authority) *tls.Config {
	t.Helper()
	return &tls.Config{
		Certificates: []tls.Certificate{a.Server(t, "127.0.0.1", "localhost").TLS(t)},
		MaxVersion:   tls.VersionTLS12,
	}
}
