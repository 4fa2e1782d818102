package safely_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/safely"
)

func TestDo(t *testing.T) {
	t.Parallel()
	require.NoError(t, safely.Do(func() error { return nil }))
	failed := errors.New("failed")
	require.ErrorIs(t, safely.Do(func() error { return failed }), failed)

	var p *safely.Panic
	require.ErrorAs(t, safely.Do(func() error { panic("on purpose") }), &p)
	require.Equal(t, "on purpose", p.Value)
	require.Equal(t, "on purpose", p.Text())
	require.EqualError(t, p, "it panicked", "an error goes to where the value must not")
	require.Contains(t, string(p.Stack), "TestDo")
}

func BenchmarkDo(b *testing.B) {
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		_ = safely.Do(func() error { n++; return nil })
	}
}
