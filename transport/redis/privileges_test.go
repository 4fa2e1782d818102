package redis_test

import (
	"os"
	"strings"
	"testing"

	redisgo "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/redis"
)

// setUsers has a server know the users of the package's documentation, as it is written.
func setUsers(t *testing.T, admin *redisgo.Client) {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	n := 0
	for line := range strings.Lines(string(doc)) {
		if rule, ok := strings.CutPrefix(strings.TrimSpace(line), "//\t"); ok && strings.HasPrefix(rule, "ACL SETUSER") {
			require.NoError(t, do(t, admin, rule))
			n++
		}
	}
	require.Equal(t, 2, n)
}

// do gives a server a command of words.
func do(t *testing.T, c *redisgo.Client, command string) error {
	t.Helper()
	var args []any
	for word := range strings.FieldsSeq(command) {
		args = append(args, word)
	}
	return c.Do(t.Context(), args...).Err()
}

// What the documentation gives a VM opens nothing of another's, nor shows who else is there.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	s, admin := start(t)
	setUsers(t, admin)
	as := func(user string) *redisgo.Client {
		o, err := redisgo.ParseURL("redis://" + user + ":PASSWORD@" + s.Addr)
		require.NoError(t, err)
		o.DisableIdentity = true
		c := redisgo.NewClient(o)
		t.Cleanup(func() { c.Close() })
		return c
	}
	refused := func(user string, commands ...string) {
		t.Helper()
		c := as(user)
		for _, command := range commands {
			require.ErrorContains(t, do(t, c, command), "NOPERM", "%s: %s", user, command)
		}
	}
	refused("vm-1",
		// others' messages
		"SUBSCRIBE miglink:down:vm-2:s", "SUBSCRIBE miglink:up:vm-2:s", "SUBSCRIBE miglink:hello:vm-2:s", "SUBSCRIBE miglink:down:vm-10:s",
		"PSUBSCRIBE *", "PSUBSCRIBE miglink:*", "PSUBSCRIBE miglink:hello:*", "PSUBSCRIBE miglink:down:*", "PSUBSCRIBE miglink:down:vm-2:*",
		"PSUBSCRIBE miglink:down:vm-1*", "SSUBSCRIBE miglink:down:vm-2:s",
		// in another's name
		"PUBLISH miglink:hello:vm-2:s x", "PUBLISH miglink:up:vm-2:s x", "PUBLISH miglink:down:vm-2:s x", "PUBLISH miglink:hello:vm-10:s x",
		"SPUBLISH miglink:down:vm-2:s x",
		"SET miglink:claim:s 1", "GET miglink:claim:s", "DEL miglink:claim:s",
		// who else is there, and an end to them
		"PUBSUB CHANNELS", "PUBSUB NUMSUB miglink:down:vm-2:s", "PUBSUB NUMPAT", "CLIENT LIST", "CLIENT INFO", "CLIENT KILL TYPE pubsub",
		"CLIENT PAUSE 1000", "CLIENT NO-EVICT on", "CLIENT TRACKING on", "ACL LIST", "ACL WHOAMI", "ACL CAT", "INFO", "CONFIG GET *", "MONITOR",
		"KEYS *", "SCAN 0", "COMMAND", "DBSIZE", "FLUSHALL", "SHUTDOWN", "EVAL return 0", "SELECT 1",
	)
	refused("controller",
		"SUBSCRIBE other", "PUBLISH other x", "PSUBSCRIBE *", "GET miglink:claim:s", "SET other 1", "DEL miglink:claim:s",
		"PUBSUB CHANNELS", "CLIENT LIST", "CLIENT KILL TYPE pubsub", "ACL LIST", "INFO", "CONFIG GET *", "MONITOR", "KEYS *", "FLUSHALL",
	)
	// A link asks for nothing that was refused, which a server would log.
	require.NoError(t, do(t, admin, "ACL LOG RESET"))
	c := brokertest.Controller(t)
	listen(t, "redis://controller:PASSWORD@"+s.Addr, c, redis.ListenOptions{})
	l, err := brokertest.Dial(t, open(t, "redis://vm-1:PASSWORD@"+s.Addr))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	log, err := admin.Do(t.Context(), "ACL", "LOG").Slice()
	require.NoError(t, err)
	require.Empty(t, log)
	_, err = open(t, "redis://vm-1:PASSWORD@"+s.Addr).Dial(t.Context(), transport.Hello{VM: "vm-2"})
	require.ErrorContains(t, err, "NOPERM")
}
