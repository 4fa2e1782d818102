package admin_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
	"github.com/miglink/miglink/transport"
)

// A ledger of before may hold names that are refused now. It opens, what is in it can be read and cancelled, and
// nothing is added to it under such names.
func TestOldNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := bolt.Open(dir, bolt.Options{})
	require.NoError(t, err)
	names := []string{"*", "pool-*", "a\u0085b"}
	for _, vm := range names {
		cmd, err := command.New(command.Drain{}, command.Options{ID: "of " + vm[:1]})
		require.NoError(t, err)
		cmd.ID += "\u009f" // likewise
		cmd.SupersedeKey = "k\u0080"
		_, err = l.Append(t.Context(), vm, cmd, ledger.Limits{}, time.Now())
		require.NoError(t, err)
	}
	require.NoError(t, l.Close())

	l, err = bolt.Open(dir, bolt.Options{})
	require.NoError(t, err)
	defer l.Close()
	c := controller.New(l, controller.Options{})
	defer c.Close()
	server := httptest.NewServer(http.StripPrefix("/admin", admin.Handler(c, admin.Options{})))
	defer server.Close()
	client, err := admin.NewClient(server.URL+"/admin", transport.Config{})
	require.NoError(t, err)
	fleet, err := client.Fleet(t.Context())
	require.NoError(t, err)
	require.Len(t, fleet, len(names))
	for _, vm := range names {
		list, err := client.List(t.Context(), vm, 0, 10)
		require.NoError(t, err)
		require.Len(t, list, 1, "of %q alone", vm)
		require.Equal(t, vm, list[0].VM)
		s, err := client.Get(t.Context(), list[0].ID)
		require.NoError(t, err)
		require.Equal(t, ack.Queued, s.Stage)
		s, err = client.Cancel(t.Context(), list[0].ID, "")
		require.NoError(t, err)
		require.Equal(t, ack.Canceled, s.Stage)
		_, err = client.Send(t.Context(), send(vm, "drain", ""))
		require.ErrorIs(t, err, transport.ErrInvalid)
	}
}
