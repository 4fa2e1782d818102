package transport

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/safely"
)

type proves struct {
	Link
	is, panics bool
}

func (p proves) Proven() bool {
	if p.panics {
		panic("on purpose")
	}
	return p.is
}

// A link of somebody else's that panics when it is asked has not proved itself, and ends no process.
func TestProven(t *testing.T) {
	t.Parallel()
	require.True(t, proven(proves{is: true}))
	require.False(t, proven(proves{}))
	require.False(t, proven(proves{is: true, panics: true}))
	require.True(t, proven(struct{ Link }{}), "one that does not know counts")
}

// A source of tokens that panics is one that has none; what it panicked with is in no text.
func TestTokenSourcePanics(t *testing.T) {
	t.Parallel()
	token, err := TokenSource(func(context.Context) (string, error) { panic("s3cret") }).Get(t.Context())
	require.Empty(t, token)
	require.EqualError(t, err, "no token: it panicked")
	require.ErrorAs(t, err, new(*safely.Panic))
}
