package controller

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// A VM that is forgotten by force while it dials gets no link that nobody would send to.
func TestForgottenWhileDialing(t *testing.T) {
	t.Parallel()
	for _, uplink := range []bool{false, true} {
		c := New(memory.New(), Options{})
		defer c.Close()
		hello := transport.Hello{VM: "vm-1", Instance: "a", Uplink: uplink}
		box, err := c.admit("vm-1")
		require.NoError(t, err)
		_, err = c.evict("vm-1", false)
		require.ErrorIs(t, err, transport.ErrInvalid, "it is about to have a link")
		known, err := c.evict("vm-1", true)
		require.NoError(t, err)
		require.True(t, known)
		link, err := c.open(t.Context(), box, hello)
		require.NoError(t, err)
		_, err = link.Receive(t.Context())
		require.ErrorIs(t, err, transport.ErrRevoked)
		require.NoError(t, link.Close())
		_, known = c.Presence("vm-1")
		require.False(t, known)
	}
}
