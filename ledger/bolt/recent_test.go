package bolt

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

// What has changed since it was on its way into the archive stays, to be archived again.
func TestDropArchived(t *testing.T) {
	t.Parallel()
	r := newRecent()
	e := ledger.NewEntry("vm-1", 1, command.Command{ID: "c-1", Type: command.TypeDrain, IdempotencyKey: "k"}, time.Unix(1, 0))
	r.put(&e)
	dead := e
	dead.Conclude(ack.Dead, "", "", time.Unix(2, 0))
	r.put(&dead)
	late := dead
	require.NoError(t, late.Acked(ack.Ack{CommandID: "c-1", Stage: ack.Succeeded, Attempt: 1}, ledger.Speaker{}, time.Unix(3, 0)))
	r.put(&late)

	require.Zero(t, r.drop([]*ledger.Entry{&dead}))
	require.Equal(t, &late, r.byKey("vm-1", "k"))
	require.Equal(t, []*ledger.Entry{&late}, r.settledEntries())
	require.Equal(t, 1, r.drop([]*ledger.Entry{&late}))
	require.Nil(t, r.get("c-1"))
	require.Nil(t, r.byKey("vm-1", "k"))
	require.Empty(t, r.settledEntries())
}
