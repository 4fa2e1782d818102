package inbox_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/inbox"
	"github.com/miglink/miglink/transport"
)

var errOver = errors.New("over")

// source is a link's network: pages until it is closed.
type source struct {
	inbox.Inbox
	pages chan []transport.Delivery
	done  chan struct{}
}

func newSource() *source {
	s := &source{pages: make(chan []transport.Delivery, 10), done: make(chan struct{})}
	s.Open(1, func() ([]transport.Delivery, error) {
		page, ok := <-s.pages
		if !ok {
			return nil, errOver
		}
		return page, nil
	}, func(error) { close(s.done) })
	return s
}

func (s *source) receive(ctx context.Context) ([]transport.Delivery, error) {
	return s.Receive(ctx, s.done, func() error { return errOver })
}

func page(ids ...string) []transport.Delivery {
	var page []transport.Delivery
	for _, id := range ids {
		page = append(page, transport.Delivery{Command: command.Command{ID: id}})
	}
	return page
}

// What came before the end is received, together and in order.
func TestReceive(t *testing.T) {
	t.Parallel()
	for range 100 { // what has come and the end are there at the same time
		synctest.Test(t, func(t *testing.T) {
			s := newSource()
			s.pages <- page("a")
			got, err := s.receive(t.Context())
			require.NoError(t, err)
			require.Equal(t, page("a"), got)
			ended, end := context.WithCancel(t.Context())
			end()
			_, err = s.receive(ended)
			require.ErrorIs(t, err, context.Canceled)

			received := make(chan []transport.Delivery, 1)
			go func() {
				got, _ := s.receive(t.Context())
				received <- got
			}()
			synctest.Wait()
			s.pages <- page("b")
			s.pages <- page("c")
			close(s.pages)
			got = <-received
			if len(got) == 1 {
				more, err := s.receive(t.Context())
				require.NoError(t, err)
				got = append(got, more...)
			}
			require.Equal(t, page("b", "c"), got)
			_, err = s.receive(t.Context())
			require.ErrorIs(t, err, errOver)
			s.End()
		})
	}
}

// A controller that sends more than was asked for, and nobody takes, is not read without end.
func TestTooMany(t *testing.T) {
	t.Parallel()
	var pages int
	var in inbox.Inbox
	over := make(chan error, 1)
	in.Open(1, func() ([]transport.Delivery, error) {
		pages++
		return page("a", "b"), nil
	}, func(err error) { over <- err })
	in.Begin()
	require.ErrorContains(t, <-over, "1026 commands beyond what was asked for")
	in.End()
	require.Equal(t, 513, pages)
}

// Several answers make one: what is refused keeps its index, and one that ends the link is that of them all.
func TestParts(t *testing.T) {
	t.Parallel()
	var answers []error
	parts := func() *inbox.Parts {
		answers = nil
		return &inbox.Parts{Done: func(err error) { answers = append(answers, err) }}
	}
	p := parts()
	p.Answer(nil, 2, false)
	require.Empty(t, answers)
	p.Answer(nil, 1, true)
	require.Equal(t, []error{nil}, answers)

	p = parts()
	p.Answer(nil, 2, false)
	p.Answer(transport.AckErrors{nil, transport.ErrUnknownCommand}, 2, true)
	require.Len(t, answers, 1)
	for i, want := range []error{nil, nil, nil, transport.ErrUnknownCommand} {
		require.ErrorIs(t, transport.AckError(answers[0], i), want)
	}

	p = parts()
	p.Answer(errOver, 2, false)
	p.Answer(errOver, 2, true)
	require.Equal(t, []error{errOver}, answers)
}
