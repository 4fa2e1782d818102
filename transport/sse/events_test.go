package sse

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"github.com/tmaxmax/go-sse"
)

// pieces is a network that hands a stream over in two pieces, and says where it is.
type pieces struct {
	rest []string
	read int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[0])
	if p.rest[0] = p.rest[0][n:]; p.rest[0] == "" {
		p.rest = p.rest[1:]
	}
	p.read += n
	return n, nil
}

func all(t *testing.T, e *events) []sse.Event {
	t.Helper()
	var got []sse.Event
	for {
		more, err := e.next()
		got = append(got, more...)
		if errors.Is(err, io.EOF) {
			return got
		}
		require.NoError(t, err)
		require.NotEmpty(t, more)
	}
}

// However a stream is cut, its events are the same, and none waits for what comes after it.
func TestEventsInPieces(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"\n", "\r\n", "\r"} {
		stream := strings.ReplaceAll(": miglink\n\nid: 1\nevent: command\ndata: a\n\n\ndata: b\ndata: c\n\n: keepalive\n\nid: 2\nevent: close\ndata: {}\n\n", "\n", end)
		want := []sse.Event{
			{LastEventID: "1", Type: "command", Data: "a"},
			{LastEventID: "1", Data: "b\nc"},
			{LastEventID: "2", Type: "close", Data: "{}"},
		}
		require.Equal(t, want, all(t, &events{from: iotest.OneByteReader(strings.NewReader(stream))}))
		for cut := range stream {
			p := &pieces{rest: []string{stream[:cut], stream[cut:]}}
			if cut == 0 {
				p.rest = p.rest[1:]
			}
			require.Equal(t, want, all(t, &events{from: p}), "%q %q", stream[:cut], stream[cut:])
		}
	}
	together := "data: 1\n\ndata: 2\n\ndata: 3"
	p := &pieces{rest: []string{together, "\n\n"}}
	e := &events{from: p}
	got, err := e.next()
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, len(together), p.read, "what is whole waits for nothing")
}

// An event may be as large as what a controller sends, and a larger one is not kept.
func TestLargeEvents(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", maxEvent-100)
	stream := "data: a\n\ndata: " + large + "\n\ndata: b\n\n"
	for _, from := range []io.Reader{strings.NewReader(stream), iotest.HalfReader(strings.NewReader(stream))} {
		e := &events{from: from}
		got := all(t, e)
		require.Len(t, got, 3)
		require.Equal(t, large, got[1].Data)
		require.LessOrEqual(t, cap(e.unread), keptRead, "the room for it is given back")
	}
	e := &events{from: strings.NewReader("data: a\n\ndata: " + large + strings.Repeat("x", 200))}
	_, err := e.next()
	require.NoError(t, err)
	_, err = e.next()
	require.ErrorContains(t, err, "an event is larger than")
	require.Less(t, cap(e.unread), 3*maxEvent)
}
