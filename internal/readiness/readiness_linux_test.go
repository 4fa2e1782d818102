package readiness_test

import (
	"crypto/tls"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/internal/readiness"
)

// pair is both ends of a TCP connection.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	far, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	near, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, far
}

// wait is a wait that says on a channel that it is over.
func wait(t *testing.T, c net.Conn) (*readiness.Wait, <-chan bool) {
	t.Helper()
	ready := make(chan bool, 2)
	w, ok := readiness.On(c, func() { ready <- true })
	require.True(t, ok)
	t.Cleanup(w.Stop)
	return w, ready
}

func TestReady(t *testing.T) {
	t.Parallel()
	for name, speak := range map[string]func(far net.Conn) error{
		"a byte":      func(far net.Conn) error { _, err := far.Write([]byte("x")); return err },
		"the end":     net.Conn.Close,
		"half an end": func(far net.Conn) error { return far.(*net.TCPConn).CloseWrite() },
		"a reset": func(far net.Conn) error {
			if err := far.(*net.TCPConn).SetLinger(0); err != nil {
				return err
			}
			return far.Close()
		},
	} {
		for _, early := range []bool{true, false} {
			near, far := pair(t)
			if early {
				require.NoError(t, speak(far), name)
			}
			w, ready := wait(t, near)
			if !early {
				require.Empty(t, ready, name)
				require.NoError(t, speak(far), name)
			}
			<-ready
			w.Stop()
			w.Stop()
			near.Close()
			require.Empty(t, ready, name)
		}
	}
}

// One connection may be waited for time and again, and a wait that is stopped is over.
func TestAgain(t *testing.T) {
	t.Parallel()
	near, far := pair(t)
	_, other := wait(t, func() net.Conn { c, _ := pair(t); return c }()) // the poll goes on
	b := make([]byte, 1)
	for i := range 100 {
		w, ready := wait(t, near)
		if i%3 == 0 {
			w.Stop()
			<-ready
			continue
		}
		_, err := far.Write([]byte{byte(i)})
		require.NoError(t, err)
		<-ready
		_, err = near.Read(b)
		require.NoError(t, err)
		require.Equal(t, byte(i), b[0])
	}
	require.Empty(t, other)
}

// What is waited for goes on where many come and go at a time.
func TestMany(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for range 50 {
		near, far := pair(t)
		all.Go(func() {
			b := make([]byte, 1)
			for range 100 {
				ready := make(chan bool, 1)
				if _, ok := readiness.On(near, func() { ready <- true }); !ok {
					t.Error("not waited for")
					return
				}
				go far.Write([]byte("x"))
				<-ready
				if _, err := near.Read(b); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// Over TLS what counts is the connection below, once what came whole was read.
func TestTLS(t *testing.T) {
	t.Parallel()
	near, far := pair(t)
	ca := certtest.NewAuthority(t)
	server := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{ca.Server(t, "vm.test").TLS(t)}, MinVersion: tls.VersionTLS13})
	client := tls.Client(far, &tls.Config{RootCAs: ca.Pool(), ServerName: "vm.test", MinVersion: tls.VersionTLS13})
	shaken := make(chan error, 1)
	go func() { shaken <- client.Handshake() }()
	require.NoError(t, server.Handshake())
	require.NoError(t, <-shaken)
	b := make([]byte, 1)
	require.NoError(t, server.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err := server.Read(b)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, server.SetReadDeadline(time.Time{}))
	_, ready := wait(t, server)
	_, err = client.Write([]byte("x"))
	require.NoError(t, err)
	<-ready
	_, err = server.Read(b)
	require.NoError(t, err)
}

func TestCannotTell(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	_, ok := readiness.On(near, func() { t.Error("called") })
	require.False(t, ok, "not a socket")
	closed, _ := pair(t)
	closed.Close()
	_, ok = readiness.On(closed, func() { t.Error("called") })
	require.False(t, ok, "closed")
}
