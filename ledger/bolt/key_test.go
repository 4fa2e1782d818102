package bolt

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/logfile"
)

// A key that went from command to command within a commit that fails is that of the first again.
func TestAKeyIsTakenBack(t *testing.T) {
	t.Parallel()
	l := openByHand(t, t.TempDir())
	defer l.Close()
	now := time.Now().UTC()
	l.commit([]*request{adds(t, "vm-1", "a", "k", "", now), says("vm-1", "a", ack.Rejected, now)})

	broken, err := logfile.Create(filepath.Join(t.TempDir(), "log"), "x", nil, 0)
	require.NoError(t, err)
	require.NoError(t, broken.Close())
	good := l.log
	l.log = broken
	l.commit([]*request{adds(t, "vm-1", "b", "k", "", now), says("vm-1", "b", ack.Rejected, now), adds(t, "vm-1", "c", "k", "", now)})
	l.log = good

	same(t, l.Ledger)
	require.Equal(t, "a", l.next.byKey("vm-1", "k").Command.ID)
	again := adds(t, "vm-1", "d", "k", "", now)
	l.commit([]*request{again})
	require.NoError(t, again.add.err)
	require.True(t, again.add.out.Created)
	require.Equal(t, "d", l.next.byKey("vm-1", "k").Command.ID)
}
