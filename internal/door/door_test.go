package door_test

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

	"github.com/miglink/miglink/internal/door"
	"github.com/miglink/miglink/internal/peerlog"
	"github.com/miglink/miglink/transport"
)

// TestSparingly has a stranger try many names: the log gets a few of the refusals, and how many there were.
func TestSparingly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		nobody := transport.AuthenticatorFunc(func(context.Context, string, transport.Credentials) (transport.Grant, error) {
			return transport.Grant{}, errors.New("no")
		})
		d := door.New(nobody, peerlog.New(slog.New(slog.NewTextHandler(&b, nil))))
		for i := range 1000 {
			_, err := d.Enter(t.Context(), fmt.Sprint("vm-", i), transport.Credentials{})
			require.ErrorIs(t, err, transport.ErrUnauthorized)
		}
		require.Equal(t, 20, strings.Count(b.String(), "msg=refused"))
		time.Sleep(time.Second) // fake
		b.Reset()
		_, _ = d.Enter(t.Context(), "vm", transport.Credentials{})
		require.Contains(t, b.String(), "not_logged=980")
	})
}

// What goes wrong in a check of credentials is for the log, unless it was meant to be told.
func TestEnter(t *testing.T) {
	t.Parallel()
	var logs bytes.Buffer
	log := peerlog.New(slog.New(slog.NewTextHandler(&logs, nil)))
	_, err := door.New(nil, log).Enter(t.Context(), "vm-1", transport.Credentials{})
	require.NoError(t, err, "without an authenticator everybody passes")

	var says error
	expires := time.Now().Add(time.Hour)
	shown := transport.Credentials{Token: "s3cret", Remote: "192.0.2.1:7", User: "u-1"}
	d := door.New(transport.AuthenticatorFunc(func(_ context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
		require.Equal(t, "vm-1", vm)
		require.Equal(t, shown, c)
		return transport.Grant{Expires: expires}, says
	}), log)
	g, err := d.Enter(t.Context(), "vm-1", shown)
	require.NoError(t, err)
	require.Equal(t, expires, g.Expires)
	require.Empty(t, logs.String())

	says = errors.New("the key server db-7 is down")
	_, err = d.Enter(t.Context(), "vm-1", shown)
	require.ErrorIs(t, err, transport.ErrUnauthorized)
	require.NotContains(t, err.Error(), "db-7")
	for _, s := range []string{"db-7", "vm_id=vm-1", "code=unauthorized", "remote=192.0.2.1:7", "user=u-1"} {
		require.Contains(t, logs.String(), s)
	}
	says = fmt.Errorf("x: %w", transport.ErrRevoked)
	_, err = d.Enter(t.Context(), "vm-1", shown)
	require.Equal(t, transport.ErrRevoked, err)

	says, expires = nil, time.Now()
	_, err = d.Enter(t.Context(), "vm-1", shown)
	require.ErrorIs(t, err, transport.ErrCredentialsExpired)
	shown.Token = strings.Repeat("x", transport.MaxToken+1)
	_, err = d.Enter(t.Context(), "vm-1", shown)
	require.ErrorIs(t, err, transport.ErrTooLarge)
	require.NotContains(t, logs.String(), "s3cret")
}
