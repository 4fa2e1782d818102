package web

import (
	"bytes"
	"context"
	"errors"
	"log/slog"

	"github.com/miglink/miglink/internal/peerlog"
	"github.com/miglink/miglink/internal/safely"
)

// errorLog is the writer of an http.Server's ErrorLog. Each Write is one line, but that of a panic, which has the stack
// after it.
type errorLog struct{ to *peerlog.Log }

var (
	panicking = []byte("http: panic serving ")
	handshake = []byte("http: TLS handshake error from ")
)

// Write implements io.Writer.
func (l *errorLog) Write(line []byte) (int, error) {
	n, ctx := len(line), context.Background()
	line = bytes.TrimSpace(line)
	switch rest, isPanic := bytes.CutPrefix(line, panicking); {
	case isPanic:
		what, stack, _ := bytes.Cut(rest, []byte("\n"))
		l.to.Panicked(ctx, "", &safely.Panic{Value: string(what), Stack: stack})
	case bytes.HasPrefix(line, handshake):
		remote, why, _ := bytes.Cut(line[len(handshake):], []byte(": "))
		l.to.Write(ctx, slog.LevelWarn, "TLS handshake failed", "", slog.String("remote", string(remote)), slog.Any("error", errors.New(string(why))))
	default:
		l.to.Write(ctx, slog.LevelWarn, "HTTP server", "", slog.String("error", string(line)))
	}
	return n, nil
}
