package needs_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/needs"
)

// lacking is a test that records how it ends. A method that it does not have panics.
type lacking struct {
	testing.TB
	skipped, failed string
}

func (l *lacking) Helper() {}
func (l *lacking) Skipf(format string, a ...any) {
	l.skipped = fmt.Sprintf(format, a...)
	runtime.Goexit()
}

func (l *lacking) Fatalf(format string, a ...any) {
	l.failed = fmt.Sprintf(format, a...)
	runtime.Goexit()
}

func run(test func(testing.TB)) *lacking {
	l, done := &lacking{}, make(chan struct{})
	go func() {
		defer close(done)
		test(l)
	}()
	<-done
	return l
}

// What is missing skips a test, and fails it where nothing may be missing; the message is the same.
func TestMissing(t *testing.T) {
	tests := map[string]func(testing.TB){
		"no disk: it is missing":             func(t testing.TB) { needs.Machine(t, errors.New("it is missing"), "no disk") },
		"no-such-program is not installed: ": func(t testing.TB) { needs.Program(t, "no-such-program") },
	}
	for message, test := range tests {
		t.Setenv(needs.Required, "")
		got := run(test)
		require.Contains(t, got.skipped, message)
		require.Empty(t, got.failed)

		t.Setenv(needs.Required, "1")
		got = run(test)
		require.Contains(t, got.failed, message)
		require.Empty(t, got.skipped)
	}
}

// What is there lets a test go on.
func TestThere(t *testing.T) {
	t.Setenv(needs.Required, "1")
	got := run(func(t testing.TB) {
		needs.Machine(t, nil, "all is there")
		require.NotEmpty(t, needs.Program(t, "go"))
	})
	require.Empty(t, got.skipped)
	require.Empty(t, got.failed)
}
