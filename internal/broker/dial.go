package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// AnswerTime is how long a controller may take to answer a hello. One that came to a controller which has
// just died is answered by nobody, and the next one by another.
const AnswerTime = 15 * time.Second

// ErrNoAnswer is the error of a dial that no controller has answered in time.
var ErrNoAnswer = fmt.Errorf("no controller answered within %s", AnswerTime)

// Dial is framed.Dial, given up where no controller answers. Name is that of the adapter; a token of the
// source goes with the hello. The link is asked whether its controller lives when started hears of another; nil: it hears
// of none.
func Dial(ctx context.Context, name string, p framed.Pipe, hello transport.Hello, tokens transport.TokenSource, started *Started) (transport.Link, error) {
	waiting, cancel := context.WithTimeout(ctx, AnswerTime)
	defer cancel()
	token, err := tokens.Get(waiting)
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	l, err := framed.Dial(waiting, p, hello, framed.DialOptions{Token: token})
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		return nil, fmt.Errorf("%s: %w", name, ErrNoAnswer)
	}
	if err == nil && started != nil {
		started.Linked(l)
	}
	return l, err
}
