package bench

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"time"
)

// rawTCP is a transport that is a bare loop and nothing else: what remains where a command has no form at all.
const rawTCP = "tcp"

// rawSize is about that of a small command.
const rawSize = 100

// bareTCP is some bytes each way.
func bareTCP(ctx context.Context, o *Options, n int) (*loop, error) {
	l := &loop{}
	listener, err := net.Listen("tcp", anyPort) //nolint:noctx // loopback
	if err != nil {
		return l, err
	}
	l.clean.add(func() { listener.Close() })
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	if _, err := l.startBare(o, "bare-tcp", "tcp://"+listener.Addr().String(), n); err != nil {
		return l, err
	}
	pipes := make([]pipe, n)
	for i := range pipes {
		conn, err := listener.Accept()
		if err != nil {
			return l, err
		}
		l.clean.add(func() { conn.Close() })
		in, sent, got := bufio.NewReader(conn), make([]byte, rawSize), make([]byte, rawSize)
		pipes[i] = pipe{
			send: func() error { _, err := conn.Write(sent); return err },
			ack:  func() error { _, err := io.ReadFull(in, got); return err },
		}
	}
	l.roundTrip = func(context.Context) error {
		if err := pipes[0].send(); err != nil {
			return err
		}
		return pipes[0].ack()
	}
	l.offer = offerPipes(pipes)
	l.flood = func(ctx context.Context, window int, d time.Duration) (int, error) {
		return floodPipes(ctx, pipes, window, d)
	}
	return l, nil
}

func bareTCPAgent(url string, _ int) error {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "tcp://")) //nolint:noctx // it ends with the process
	if err != nil {
		return err
	}
	in, b := bufio.NewReader(conn), make([]byte, rawSize)
	for {
		if _, err := io.ReadFull(in, b); err != nil {
			return err
		}
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
}
