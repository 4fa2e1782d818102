package transport_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for _, vm := range []string{"vm-1", "pool/vm 1", "ü", "a.b", "...", "a[b]?", "\u00a0"} {
		require.NoError(t, transport.ValidateVM(vm), vm)
	}
	for _, vm := range []string{"", ".", "..", "a\nb", "a\x00", "\xff", "a\x7f", "a\u0080", "a\u0085b", "\u009f", "*", "pool-*", "a**", string(make([]byte, 129))} {
		require.ErrorIs(t, transport.ValidateVM(vm), transport.ErrInvalid, "%q", vm)
	}
	for c, valid := range map[transport.Cursor]bool{"": true, "e.1.0": true, "a b": false, "\n": false, "é": false, transport.Cursor(make([]byte, 129)): false} {
		require.Equal(t, valid, c.Valid(), "%q", c)
		d := transport.Delivery{Cursor: c, Command: command.Command{ID: "x"}}
		require.Equal(t, valid, d.Validate() == nil, "%q", c)
	}
	require.Error(t, (&transport.Delivery{Cursor: "e"}).Validate())
}
