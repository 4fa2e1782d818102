package refusal_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/refusal"
)

func TestSparingly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		l := refusal.New(slog.New(slog.NewTextHandler(&b, nil)))
		for range 1000 {
			l.Add(t.Context(), slog.String("vm_id", "vm-1"))
		}
		require.Equal(t, 20, strings.Count(b.String(), "vm_id=vm-1"))
		require.NotContains(t, b.String(), "not_logged")
		time.Sleep(time.Second)
		b.Reset()
		l.Add(t.Context(), slog.String("vm_id", "vm-2"))
		require.Contains(t, b.String(), "vm_id=vm-2 not_logged=980")
		time.Sleep(time.Second)
		b.Reset()
		l.Add(t.Context(), slog.String("vm_id", "vm-3"))
		require.NotContains(t, b.String(), "not_logged")
	})
}
