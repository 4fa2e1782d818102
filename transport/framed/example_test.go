package framed_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log"
	"net"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// lines is a Pipe: one frame of JSON per line of a connection. A transport of your own is this much,
// and how to connect.
type lines struct {
	net.Conn
	in *bufio.Scanner
}

func newLines(c net.Conn) *lines {
	in := bufio.NewScanner(c)
	in.Buffer(nil, 2<<20)
	return &lines{c, in}
}

func (l *lines) Send(f *framed.Frame) error {
	var b bytes.Buffer
	if err := framed.Encode(&b, f); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := l.Write(b.Bytes())
	return err
}

func (l *lines) Recv() (*framed.Frame, error) {
	if !l.in.Scan() {
		return nil, fmt.Errorf("the connection has ended: %w", l.in.Err())
	}
	return framed.Decode(l.in.Bytes())
}

// The server half serves a Transport over a pipe, the client half dials over one.
func Example() {
	ctx := context.Background()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()

	client, server := net.Pipe()
	served := make(chan error)
	go func() {
		served <- framed.Serve(ctx, newLines(server), c, framed.ServeOptions{VM: "vm-1", Name: "lines"})
	}()
	link, err := framed.Dial(ctx, newLines(client), transport.Hello{VM: "vm-1"}, framed.DialOptions{})
	if err != nil {
		log.Fatal(err)
	}
	p, _ := c.Presence("vm-1")
	fmt.Println("online:", p.Online, "over", p.Transport)
	link.Close()
	<-served
	// Output: online: true over lines
}
