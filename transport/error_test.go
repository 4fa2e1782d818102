package transport_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/transport"
)

func TestErrors(t *testing.T) {
	t.Parallel()
	one := transport.Errorf(transport.CodeUnknownCommand, "no %s", "x")
	one.RetryAfter = 1500 * time.Millisecond
	require.EqualError(t, one, "miglink: unknown_command: no x (retry after 1.5s)")
	require.ErrorIs(t, one, transport.ErrUnknownCommand)
	require.NotErrorIs(t, one, transport.ErrInvalid)
	require.Equal(t, one.RetryAfter, transport.RetryAfter(errors.Join(errors.New("x"), one)))
	require.Zero(t, transport.RetryAfter(errors.New("x")))

	several := transport.AckErrors{nil, one, nil}
	require.ErrorIs(t, several.Of(), transport.ErrUnknownCommand)
	require.NoError(t, transport.AckErrors{nil, nil}.Of())
	require.NoError(t, transport.AckError(several.Of(), 0))
	require.Equal(t, one, transport.AckError(several.Of(), 1))
	require.NoError(t, transport.AckError(several.Of(), 7))
	require.EqualError(t, transport.AckErrors{one, nil, one}, "miglink: 2 of 3 acks refused, the first: "+one.Error())
	broken := errors.New("broken")
	require.Equal(t, broken, transport.AckError(broken, 3))

	for err, refused := range map[error]bool{
		one: true, transport.ErrInternal: true, transport.ErrQueueFull: true,
		transport.ErrUnavailable: false, transport.ErrSuperseded: false, transport.ErrClosed: false, broken: false,
	} {
		require.Equal(t, refused, transport.Refused(err), "%s", err)
	}
	require.True(t, transport.Refused(several.Of()))
	require.Equal(t, transport.ErrInternal, transport.AsError(errors.New("the disk of db-7 is full")))
	require.Equal(t, one, transport.AsError(errors.Join(broken, one)))
	long := transport.Errorf(transport.CodeInvalid, "%s", strings.Repeat("é", transport.MaxMessage))
	require.LessOrEqual(t, len(transport.AsError(long).Message), transport.MaxMessage)
	require.True(t, utf8.ValidString(transport.AsError(long).Message))
}
