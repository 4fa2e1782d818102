package admin_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

// A send says whether anything was ever heard of the VM, to whom may read that.
func TestSendToAVMNobodyKnows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{Authenticator: byToken})
	link, err := w.c.Dial(t.Context(), transport.Hello{VM: "vm-1", Instance: "i"})
	require.NoError(t, err)
	defer link.Close()
	known := func(token, vm, id string) *bool {
		s, err := w.as(token).Send(t.Context(), send(vm, "drain", id))
		require.NoError(t, err)
		return s.VMKnown
	}
	require.Equal(t, new(true), known("read send", "vm-1", "c-1"))
	require.Equal(t, new(false), known("read send", "vm-l", "c-2"), "it is queued all the same")
	require.Nil(t, known("send", "vm-1", ""))
	require.Nil(t, known("send", "vm-l", ""))
}
