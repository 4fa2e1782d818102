package peerlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/peerlog"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
)

func newLog(level slog.Level) (*peerlog.Log, *bytes.Buffer) {
	var b bytes.Buffer
	return peerlog.New(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: level}))), &b
}

func lines(b *bytes.Buffer, of string) int { return strings.Count(b.String(), of) }

// TestRate has a stranger and many VMs cause lines of one kind, and counts those that are written.
func TestRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, b := newLog(slog.LevelInfo)
		ctx := t.Context()
		for range 1000 {
			l.Write(ctx, slog.LevelWarn, "refused", "")
		}
		require.Equal(t, 20, lines(b, "msg=refused"))
		l.Write(ctx, slog.LevelWarn, "of another kind", "")
		require.Equal(t, 1, lines(b, "of another kind"), "a kind does not hide another")

		time.Sleep(10 * time.Second) // fake
		b.Reset()
		for range 1000 {
			l.Write(ctx, slog.LevelWarn, "refused", "")
		}
		require.Equal(t, 10, lines(b, "msg=refused"), "one is earned in a second")
		require.Contains(t, b.String(), "not_logged=980")
		require.Equal(t, 1, lines(b, "not_logged"), "what was left out is told once")
	})
}

// TestRateOfOneVM has one VM cause lines, which must not keep those of another from being written.
func TestRateOfOneVM(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, b := newLog(slog.LevelInfo)
		ctx := t.Context()
		for range 1000 {
			l.Write(ctx, slog.LevelInfo, "link ended", "noisy")
		}
		require.Equal(t, 5, lines(b, "vm_id=noisy"))
		l.Write(ctx, slog.LevelInfo, "link ended", "quiet")
		require.Equal(t, 1, lines(b, "vm_id=quiet"))
		time.Sleep(time.Minute) // fake
		for range 1000 {
			l.Write(ctx, slog.LevelInfo, "link ended", "noisy")
		}
		require.Equal(t, 7, lines(b, "vm_id=noisy"), "two are earned in a minute")

		// VMs without number share what is left, take no memory beyond the first thousand, and hide no stranger.
		b.Reset()
		for i := range 100_000 {
			l.Write(ctx, slog.LevelInfo, "link ended", fmt.Sprint("vm-", i))
		}
		require.Equal(t, 1000-2, lines(b, "link ended"), "the noisy one has had two of them")
		l.Write(ctx, slog.LevelInfo, "link ended", "")
		require.Equal(t, 1000-2+1, lines(b, "link ended"))
		for i := range 3000 { // one line a second
			time.Sleep(time.Second) // fake
			l.Write(ctx, slog.LevelInfo, "link ended", fmt.Sprint("other-", i))
			require.LessOrEqual(t, l.Counted("link ended"), 1024)
		}
		require.GreaterOrEqual(t, lines(b, "vm_id=other-"), 3000, "those that are as good as new make room")
	})
}

func TestSize(t *testing.T) {
	t.Parallel()
	l, b := newLog(slog.LevelInfo)
	long := strings.Repeat("\x1b\n", 64<<10)
	l.Write(t.Context(), slog.LevelInfo, "link ended", long, slog.String("a", long), slog.Any("b", errors.New(long)),
		slog.Any("c", transport.Code(long)), slog.Any("d", []string{long}), slog.Int("e", 7), slog.Group("f", slog.String("g", long)))
	require.LessOrEqual(t, b.Len(), 2*peerlog.MaxLine+512, "the handler doubles each backslash")
	require.NotContains(t, b.String(), "\x1b")
	require.Equal(t, 1, lines(b, "\n"))
	require.Contains(t, b.String(), "e=7")
}

func TestEnded(t *testing.T) {
	t.Parallel()
	l, b := newLog(slog.LevelDebug)
	l.Ended(t.Context(), "vm", transport.Errorf(transport.CodeMoved, "elsewhere"))
	require.Contains(t, b.String(), `level=INFO msg="link ended" vm_id=vm code=moved error=elsewhere`)
	b.Reset()
	l.Ended(t.Context(), "vm", errors.New("broken pipe"))
	require.Contains(t, b.String(), `level=DEBUG msg="link ended" vm_id=vm error="broken pipe"`)
	b.Reset()
	l.Ended(t.Context(), "vm", fmt.Errorf("reading: %w", safely.Do(func() error { panic("on\npurpose") })))
	require.Contains(t, b.String(), "level=ERROR")
	require.Contains(t, b.String(), "vm_id=vm")
	told, debug, _ := strings.Cut(b.String(), "\n")
	require.Contains(t, told, "level=ERROR")
	require.NotContains(t, told, "purpose", "the value may be a secret")
	require.Contains(t, debug, "level=DEBUG")
	require.Contains(t, debug, `panic=on\npurpose`)
	require.Contains(t, debug, "TestEnded", "the stack")
	for range 100 {
		l.Ended(t.Context(), "vm", &safely.Panic{Value: 1, Stack: bytes.Repeat([]byte("x"), 1<<20)})
	}
	require.LessOrEqual(t, b.Len(), 6*(peerlog.MaxStack+2<<10))
}

// TestNotEnabled has lines that nobody wants take nothing of those that somebody does.
func TestNotEnabled(t *testing.T) {
	t.Parallel()
	l, b := newLog(slog.LevelInfo)
	for range 100 {
		l.Write(context.Background(), slog.LevelDebug, "link ended", "vm")
	}
	l.Write(context.Background(), slog.LevelInfo, "link ended", "vm")
	require.Equal(t, 1, lines(b, "link ended"))
	require.NotContains(t, b.String(), "not_logged")
}
