package command_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
)

// An ID that holds a time tells when its command was created, whoever sends it and how often.
func TestCreatedAt(t *testing.T) {
	t.Parallel()
	made := func(o command.Options) command.Command {
		c, err := command.NewRaw("own", nil, o)
		require.NoError(t, err)
		return c
	}
	c := made(command.Options{})
	require.Equal(t, command.Created(c.CreatedAt), c.CreatedAt)
	require.Equal(t, c.CreatedAt, made(command.Options{ID: c.ID, TTL: time.Hour}).CreatedAt)
	require.Equal(t, time.UnixMilli(0x01a211ec9f10).UTC(), made(command.Options{ID: "01a211ec-9f10-7a20-91b3-ee961cffb5fa"}).CreatedAt)

	own := time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.FixedZone("x", 3600))
	c = made(command.Options{ID: "c-1", CreatedAt: own, TTL: time.Hour})
	require.Equal(t, time.Date(2026, 1, 2, 2, 4, 5, 678_000_000, time.UTC), c.CreatedAt)
	require.False(t, c.Expired(time.Now()), "its time begins when it is sent")

	one, other := made(command.Options{ID: "c-1"}), made(command.Options{ID: "c-1"})
	require.False(t, command.Reused(one.CreatedAt, other.CreatedAt), "nobody has said when")
	require.False(t, command.Reused(c.CreatedAt, other.CreatedAt))
	require.False(t, command.Reused(c.CreatedAt, time.Time{}))
	require.False(t, command.Reused(c.CreatedAt, c.CreatedAt.In(time.FixedZone("y", 7200))))
	require.True(t, command.Reused(c.CreatedAt, c.CreatedAt.Add(time.Millisecond)))

	id, at := command.NewID()
	require.Equal(t, at, made(command.Options{ID: id}).CreatedAt)
}
